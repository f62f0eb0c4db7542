// SPDX-License-Identifier: Apache-2.0
// The reactor workers of the data process, and the memory that they share with main: counters, latencies, records, accounts.
import type { HandleKind } from '../mesh/reactor/ffi/handle-counts.ts'
import { WorkerCrew } from '../mesh/reactor/worker-crew.ts'
import type { Log } from '../mesh/runtime/log.ts'
import { CounterReader, createCounterMemory } from '../mesh/telemetry/counters.ts'
import { Latencies } from '../mesh/telemetry/latencies.ts'
import { RecordRing } from '../mesh/telemetry/record-ring.ts'
import type { GraceSettings } from './carry/grace-peers.ts'
import { PodAccounts } from './carry/pod-account.ts'
import { workloadLimits } from './carry/workload-limits.ts'
import type { ZtunnelConfig } from './config.ts'
import { StreamSlots } from './stream-slots.ts'
import type { DownMessage, UpMessage, WorkerData } from './worker-messages.ts'

const ENTRY = new URL('./worker.ts', import.meta.url)

/** Hears what workers say. */
export interface WorkerSetHandler {
  onMessage(worker: number, message: UpMessage): void
  /** A worker (re)started and knows nothing: send it everything. */
  onStarted(worker: number): void
  /** The mesh has that workload. */
  isKnown(uid: string): boolean
}

/** All workers. */
export class WorkerSet {
  readonly counters = new CounterReader()
  /** What each pod has of the node. */
  readonly accounts: PodAccounts
  /** Instances of waypoints that streams are counted of. */
  readonly streamSlots: StreamSlots
  /** One per worker; a replacement writes on in its predecessor's. */
  readonly rings: readonly RecordRing[]
  /** One per worker; a replacement counts on in its predecessor's. */
  readonly latencies: readonly Latencies[]
  readonly #config: ZtunnelConfig
  readonly #grace: GraceSettings | null
  readonly #crew: WorkerCrew<DownMessage, UpMessage>

  constructor(
    config: ZtunnelConfig,
    log: Log,
    handler: WorkerSetHandler,
    grace: GraceSettings | null = null,
  ) {
    this.#config = config
    this.#grace = grace
    const { workerCount: count } = config
    this.accounts = new PodAccounts(count)
    this.streamSlots = new StreamSlots({
      workers: count,
      tell: (slots) => this.broadcast({ type: 'stream-slots', slots }),
      isKnown: (uid) => handler.isKnown(uid),
    })
    this.rings = Array.from({ length: count }, () => new RecordRing())
    this.latencies = this.rings.map(() => new Latencies())
    this.#crew = new WorkerCrew({
      ...{ count, entry: ENTRY, log },
      prepare: (index) => {
        const counters = createCounterMemory()
        const register = this.counters.addWorker(counters)
        return {
          data: this.#dataOf(index, counters),
          onMessage: (message) => {
            if (message.type === 'labels') register(message.slot, message.labels)
            else if (message.type === 'endpoint-demoted' || message.type === 'endpoint-forgiven')
              this.#tellOthers(index, message)
            else handler.onMessage(index, message)
          },
          onGone: () => this.counters.retireWorker(counters),
        }
      },
      onStarted: (index) => {
        this.post(index, { type: 'stream-slots', slots: this.streamSlots.all })
        handler.onStarted(index)
      },
    })
  }

  start(): void {
    this.#crew.start()
  }
  post(worker: number, message: DownMessage): void {
    this.#crew.post(worker, message)
  }
  broadcast(message: DownMessage): void {
    this.#crew.broadcast(message)
  }
  #tellOthers(worker: number, message: DownMessage): void {
    for (let other = 0; other < this.count; other++) if (other !== worker) this.post(other, message)
  }
  get count(): number {
    return this.#crew.count
  }
  /** Workers that ended unexpectedly since the start. */
  get lostCount(): number {
    return this.#crew.lostCount
  }
  /** Messages dropped in either direction because one side did not keep up. */
  get droppedMessageCount(): number {
    return this.#crew.droppedMessageCount
  }
  /** Open native handles per worker; null while it is replaced. */
  get openHandles(): Array<Readonly<Record<HandleKind, number>> | null> {
    return this.#crew.openHandles
  }

  /** Ends all workers; their connections end with `reason`. */
  async stop(reason: 'DRAIN' | 'SHUTDOWN'): Promise<void> {
    await this.#crew.stop({ type: 'stop', reason })
  }

  #dataOf(index: number, counters: SharedArrayBuffer): WorkerData {
    const [ring, latencies] = [this.rings[index], this.latencies[index]]
    if (ring === undefined || latencies === undefined) throw new RangeError(`no worker ${index}`)
    const { otlpEndpoint, otlpSamplesPerMillion, originalSource, socks5, network, workerBufferedBytes } =
      this.#config
    return {
      ...{ index, counters, originalSource, socks5, network },
      acceptShare: this.#crew.share,
      wakeFds: this.#crew.wakeFds,
      latencies: latencies.memory,
      records: ring.memory,
      streamCounts: this.streamSlots.memory,
      tracesPerMillion: otlpEndpoint === '' ? null : otlpSamplesPerMillion,
      limits: workloadLimits(this.#config),
      bufferedBytes: workerBufferedBytes,
      grace: this.#grace,
    }
  }
}
