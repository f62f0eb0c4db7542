// SPDX-License-Identifier: Apache-2.0
// The workers of a waypoint: what each is started with, what it counts and records, and questions to all of them.
import { formatBaggage } from '../mesh/hbone/baggage.ts'
import { WorkerCrew } from '../mesh/reactor/worker-crew.ts'
import type { Log } from '../mesh/runtime/log.ts'
import { CounterReader, createCounterMemory } from '../mesh/telemetry/counters.ts'
import { RecordRing } from '../mesh/telemetry/record-ring.ts'
import { createRequestMemory, RequestCounterReader } from '../mesh/telemetry/request-counters.ts'
import type { WaypointConfig } from './config.ts'
import type { DownMessage, UpMessage, WorkerData, WorkerReport } from './worker-messages.ts'

const WORKER = new URL('./worker.ts', import.meta.url)
/** A worker that does not answer for so long has other things to do. */
const REPORT_TIMEOUT_MS = 1_000

/** What workers say of traffic; labels and reports are the set's own. */
export type WorkerNews = Exclude<UpMessage, { readonly type: 'labels' | 'request-labels' | 'report' }>

/** Hears workers. */
export interface WorkerSetHandler {
  onNews(worker: number, news: WorkerNews): void
  /** It runs, and knows nothing yet. */
  onStarted(worker: number): void
  /** It has ended; its successor is started. */
  onGone(worker: number): void
}

export class WorkerSet {
  readonly counters = new CounterReader()
  readonly requests = new RequestCounterReader()
  /** Of records, by worker. */
  readonly rings: readonly RecordRing[]
  readonly #config: WaypointConfig
  readonly #identity: string
  readonly #handler: WorkerSetHandler
  readonly #crew: WorkerCrew<DownMessage, UpMessage>
  readonly #questions = new Map<number, (report: WorkerReport) => void>()
  #questionCount = 0

  /** `identity`: SPIFFE id of the waypoint. */
  constructor(config: WaypointConfig, identity: string, log: Log, handler: WorkerSetHandler) {
    this.#config = config
    this.#identity = identity
    this.#handler = handler
    this.rings = Array.from({ length: config.workerCount }, () => new RecordRing())
    this.#crew = new WorkerCrew({
      ...{ count: config.workerCount, entry: WORKER, log },
      prepare: (index) => this.#prepare(index),
      onStarted: (index) => handler.onStarted(index),
    })
  }

  get count(): number {
    return this.#crew.count
  }

  /** Those that ended unexpectedly. */
  get lostCount(): number {
    return this.#crew.lostCount
  }

  start(): void {
    this.#crew.start()
  }

  stop(reason: 'DRAIN' | 'SHUTDOWN'): Promise<void> {
    return this.#crew.stop({ type: 'stop', reason })
  }

  post(worker: number, message: DownMessage): void {
    this.#crew.post(worker, message)
  }

  broadcast(message: DownMessage): void {
    this.#crew.broadcast(message)
  }

  /** Live state of every worker that answers. */
  async report(): Promise<readonly WorkerReport[]> {
    const all = Array.from({ length: this.count }, (_each, worker) => this.#ask(worker))
    return (await Promise.all(all)).filter((each) => each !== null)
  }

  #ask(worker: number): Promise<WorkerReport | null> {
    const request = this.#questionCount++
    const { promise, resolve } = Promise.withResolvers<WorkerReport | null>()
    const timer = setTimeout(() => resolve(null), REPORT_TIMEOUT_MS)
    this.#questions.set(request, resolve)
    this.post(worker, { type: 'report', request })
    return promise.finally(() => {
      clearTimeout(timer)
      this.#questions.delete(request)
    })
  }

  #prepare(index: number): {
    readonly data: WorkerData
    readonly onMessage: (message: UpMessage) => void
    readonly onGone: () => void
  } {
    const counters = createCounterMemory()
    const requestCounters = createRequestMemory()
    const register = this.counters.addWorker(counters)
    const registerRequests = this.requests.addWorker(requestCounters)
    return {
      data: this.#dataOf(index, counters, requestCounters),
      onMessage: (message) => {
        if (message.type === 'labels') register(message.slot, message.labels)
        else if (message.type === 'request-labels') registerRequests(message.slot, message.labels)
        else if (message.type === 'report') this.#questions.get(message.request)?.(message.report)
        else this.#handler.onNews(index, message)
      },
      onGone: () => {
        this.counters.retireWorker(counters)
        this.requests.retireWorker(requestCounters)
        this.#handler.onGone(index)
      },
    }
  }

  #dataOf(index: number, counters: SharedArrayBuffer, requestCounters: SharedArrayBuffer): WorkerData {
    const ring = this.rings[index]
    if (ring === undefined) throw new RangeError(`no worker ${index}`)
    const { clusterId: clusterName, podNamespace: namespace, gatewayName, podName } = this.#config
    const { trustDomain, accessLog, accessLogFormat, otlpEndpoint, otlpSamplesPerMillion } = this.#config
    const workloadName = gatewayName || podName
    return {
      ...{ index, counters, requestCounters, records: ring.memory },
      ...{ acceptShare: this.#crew.share, wakeFds: this.#crew.wakeFds },
      ...{ identity: this.#identity, trustDomain, accessLog, accessLogFormat },
      tracesPerMillion: otlpEndpoint === '' ? null : otlpSamplesPerMillion,
      bodyTimeoutMs: this.#config.bodyTimeoutSeconds * 1000,
      baggage: formatBaggage({ clusterName, namespace, workloadName, serviceName: workloadName }),
    }
  }
}
