// SPDX-License-Identifier: Apache-2.0
// The reactor workers of the data process: started together, replaced one by one when they die. A dead worker's
// connections are reset; its listeners are shared, so nobody is turned away meanwhile.
import {
  type AcceptShareMemory,
  createAcceptShareMemory,
  retireFromAcceptShare,
} from '../mesh/reactor/accept-share.ts'
import type { HandleKind } from '../mesh/reactor/ffi/handle-counts.ts'
import { createWakeFd, ReactorWorker } from '../mesh/reactor/worker.ts'
import { Backoff } from '../mesh/runtime/backoff.ts'
import type { Log } from '../mesh/runtime/log.ts'
import { CounterReader, createCounterMemory } from '../mesh/telemetry/counters.ts'
import { Latencies } from '../mesh/telemetry/latencies.ts'
import { RecordRing } from '../mesh/telemetry/record-ring.ts'
import type { GraceSettings } from './carry/grace-peers.ts'
import { PodAccounts } from './carry/pod-account.ts'
import { workloadLimits } from './carry/workload-limits.ts'
import type { ZtunnelConfig } from './config.ts'
import type { DownMessage, UpMessage, WorkerData } from './worker-messages.ts'

/** Wait before a dead worker is replaced, doubled while it dies young: it must not keep a core busy. */
const RESTART_FIRST_MS = 100
const RESTART_MAX_MS = 5000
/** A worker that lived this long did not die of its start. */
const LONG_LIFE_MS = 10_000

/** Hears what workers say. */
export interface WorkerSetHandler {
  onMessage(worker: number, message: UpMessage): void
  /** A worker (re)started and knows nothing: send it everything. */
  onStarted(worker: number): void
}

/** All workers. */
export class WorkerSet {
  readonly counters = new CounterReader()
  /** What each pod has of the node. */
  readonly accounts: PodAccounts
  /** One per worker; a replacement writes on in its predecessor's. */
  readonly rings: readonly RecordRing[]
  /** One per worker; a replacement counts on in its predecessor's. */
  readonly latencies: readonly Latencies[]
  /** Workers that ended unexpectedly since the start. */
  lostCount = 0
  readonly #config: ZtunnelConfig
  readonly #log: Log
  readonly #handler: WorkerSetHandler
  readonly #grace: GraceSettings | null
  readonly #share: AcceptShareMemory
  readonly #wakeFds: number[]
  readonly #workers: Array<ReactorWorker<DownMessage, UpMessage> | null>
  readonly #backoffs: readonly Backoff[]
  #isStopping = false

  constructor(
    config: ZtunnelConfig,
    log: Log,
    handler: WorkerSetHandler,
    grace: GraceSettings | null = null,
  ) {
    this.#config = config
    this.#log = log
    this.#handler = handler
    this.#grace = grace
    this.accounts = new PodAccounts(config.workerCount)
    this.#share = createAcceptShareMemory(config.workerCount)
    this.#wakeFds = Array.from({ length: config.workerCount }, createWakeFd)
    this.#workers = this.#wakeFds.map(() => null)
    this.rings = this.#wakeFds.map(() => new RecordRing())
    this.latencies = this.#wakeFds.map(() => new Latencies())
    this.#backoffs = this.#wakeFds.map(
      () => new Backoff({ initialMs: RESTART_FIRST_MS, maxMs: RESTART_MAX_MS, random: Math.random }),
    )
  }

  start(): void {
    for (let index = 0; index < this.#workers.length; index++) this.#startWorker(index)
  }

  post(worker: number, message: DownMessage): void {
    this.#workers[worker]?.post(message)
  }

  broadcast(message: DownMessage): void {
    for (const worker of this.#workers) worker?.post(message)
  }

  get count(): number {
    return this.#workers.length
  }
  /** Messages dropped in either direction because one side did not keep up. */
  get droppedMessageCount(): number {
    return this.#workers.reduce(
      (sum, each) => sum + (each?.droppedCount ?? 0) + (each?.droppedByWorkerCount ?? 0),
      0,
    )
  }
  /** Open native handles per worker; null while it is replaced. */
  get openHandles(): Array<Readonly<Record<HandleKind, number>> | null> {
    return this.#workers.map((each) => each?.openHandles ?? null)
  }

  /** Ends all workers; their connections end with `reason`. */
  async stop(reason: 'DRAIN' | 'SHUTDOWN'): Promise<void> {
    this.#isStopping = true
    this.broadcast({ type: 'stop', reason })
    await Promise.all(this.#workers.map((worker) => worker?.stop()))
  }

  #startWorker(index: number): void {
    const startedMs = performance.now()
    const counters = createCounterMemory()
    const register = this.counters.addWorker(counters)
    const ring = this.rings[index]
    const latencies = this.latencies[index]
    const backoff = this.#backoffs[index]
    if (ring === undefined || latencies === undefined || backoff === undefined)
      throw new RangeError(`no worker ${index}`)
    const data: WorkerData = {
      index,
      acceptShare: this.#share,
      wakeFds: this.#wakeFds,
      counters,
      latencies: latencies.memory,
      records: ring.memory,
      tracesPerMillion: this.#config.otlpEndpoint === '' ? null : this.#config.otlpSamplesPerMillion,
      originalSource: this.#config.originalSource,
      socks5: this.#config.socks5,
      limits: workloadLimits(this.#config),
      network: this.#config.network,
      grace: this.#grace,
    }
    this.#workers[index] = new ReactorWorker<DownMessage, UpMessage>(
      new URL('./worker.ts', import.meta.url),
      {
        name: `worker-${index}`,
        data,
        wakeFd: this.#wakeFds[index] ?? -1,
        onMessage: (message) => {
          if (message.type === 'labels') register(message.slot, message.labels)
          else this.#handler.onMessage(index, message)
        },
        onExit: ({ error, closedDescriptors }) => {
          this.#workers[index] = null
          this.counters.retireWorker(counters)
          retireFromAcceptShare(this.#share, index)
          if (this.#isStopping) return
          this.lostCount++
          this.#log.error(
            { reason: 'WORKER_LOST', worker: index, closedDescriptors, err: error },
            'worker lost',
          )
          if (performance.now() - startedMs > LONG_LIFE_MS) backoff.reset()
          setTimeout(() => {
            if (!this.#isStopping) this.#startWorker(index)
          }, backoff.next())
        },
      },
    )
    this.#handler.onStarted(index)
  }
}
