// SPDX-License-Identifier: Apache-2.0
// The reactor workers of a process: started together, replaced one by one when they die. A dead worker's connections are
// reset; what they listen on is shared, so nobody is turned away meanwhile.
import { Backoff } from '../runtime/backoff.ts'
import type { Log } from '../runtime/log.ts'
import { type AcceptShareMemory, createAcceptShareMemory, retireFromAcceptShare } from './accept-share.ts'
import type { HandleKind } from './ffi/handle-counts.ts'
import { createWakeFd, ReactorWorker } from './worker.ts'

/** Wait before a dead worker is replaced, doubled while it dies young: it must not keep a core busy. */
const RESTART_FIRST_MS = 100
const RESTART_MAX_MS = 5000
/** A worker that lived this long did not die of its start. */
const LONG_LIFE_MS = 10_000

/** How one worker is to be started. */
export interface WorkerStart<Up> {
  /** Structured-clonable; the worker reads it as ReactorThread.data. */
  readonly data: unknown
  readonly onMessage: (message: Up) => void
  /** It has died, or was stopped. */
  readonly onGone: () => void
}

/** What a crew is made of. */
export interface WorkerCrewOptions<Up> {
  readonly count: number
  /** Program of the workers. */
  readonly entry: URL
  readonly log: Log
  /** Called for every worker that is started, and again for the one that replaces it. */
  readonly prepare: (index: number) => WorkerStart<Up>
  /** A worker (re)started and knows nothing: send it everything. */
  readonly onStarted: (index: number) => void
}

/** All workers of a process. */
export class WorkerCrew<Down, Up> {
  /** Of all workers: who has how many connections. */
  readonly share: AcceptShareMemory
  /** Eventfds of all workers, by index. */
  readonly wakeFds: readonly number[]
  /** Workers that ended unexpectedly since the start. */
  lostCount = 0
  readonly #options: WorkerCrewOptions<Up>
  readonly #workers: Array<ReactorWorker<Down, Up> | null>
  readonly #backoffs: readonly Backoff[]
  #isStopping = false

  constructor(options: WorkerCrewOptions<Up>) {
    this.#options = options
    this.share = createAcceptShareMemory(options.count)
    this.wakeFds = Array.from({ length: options.count }, createWakeFd)
    this.#workers = this.wakeFds.map(() => null)
    this.#backoffs = this.wakeFds.map(
      () => new Backoff({ initialMs: RESTART_FIRST_MS, maxMs: RESTART_MAX_MS, random: Math.random }),
    )
  }

  start(): void {
    for (let index = 0; index < this.#workers.length; index++) this.#startWorker(index)
  }

  post(worker: number, message: Down): void {
    this.#workers[worker]?.post(message)
  }

  broadcast(message: Down): void {
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

  /** Ends all workers once each has been sent `last`, by which it ends its connections. */
  async stop(last: Down): Promise<void> {
    this.#isStopping = true
    this.broadcast(last)
    await Promise.all(this.#workers.map((worker) => worker?.stop()))
  }

  #startWorker(index: number): void {
    const { entry, log, prepare, onStarted } = this.#options
    const backoff = this.#backoffs[index]
    if (backoff === undefined) throw new RangeError(`no worker ${index}`)
    const startedMs = performance.now()
    const { data, onMessage, onGone } = prepare(index)
    this.#workers[index] = new ReactorWorker<Down, Up>(entry, {
      name: `worker-${index}`,
      data,
      wakeFd: this.wakeFds[index] ?? -1,
      onMessage,
      onExit: ({ error, closedDescriptors }) => {
        this.#workers[index] = null
        onGone()
        retireFromAcceptShare(this.share, index)
        if (this.#isStopping) return
        this.lostCount++
        log.error({ reason: 'WORKER_LOST', worker: index, closedDescriptors, err: error }, 'worker lost')
        if (performance.now() - startedMs > LONG_LIFE_MS) backoff.reset()
        setTimeout(() => {
          if (!this.#isStopping) this.#startWorker(index)
        }, backoff.next())
      },
    })
    onStarted(index)
  }
}
