// SPDX-License-Identifier: Apache-2.0
// Tells the controller from time to time who talked to whom since it was told last. Nothing of it is on the way of a
// connection: the counts are there anyway. What could not be told comes with the next report.
import { REASONS } from '../../mesh/errors/reasons.ts'
import type { GrpcAnswer } from '../../mesh/grpc/client.ts'
import type { Clock, ClockTimer } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import { countsSince, type Edge, type EdgeCounts, isNothing, NO_COUNTS } from '../../mesh/telemetry/edge.ts'
import { type EdgeReport, MAX_REPORTED_EDGES } from '../../mesh/telemetry/edge-report.ts'

/** Between two reports; half of it more or less by chance, so that nodes do not come together. */
const REPORT_INTERVAL_MS = 10_000
/** A controller that has no ear for edges, as Istio's, is asked again after this. */
const UNSERVED_INTERVAL_MS = 3_600_000
/** The end of a process does not wait longer for the last one. */
const LAST_REPORT_MS = 1_000
const UNIMPLEMENTED = 12

export interface EdgeReporterOptions {
  /** All that was counted, by edge. */
  readonly edges: () => ReadonlyMap<string, Edge>
  /** Null: there is no way to a controller now. */
  readonly send: (report: EdgeReport) => Promise<GrpcAnswer | null>
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly log: Log
}

export class EdgeReporter {
  readonly #options: EdgeReporterOptions
  /** What the controller has been told. */
  readonly #told = new Map<string, EdgeCounts>()
  #timer: ClockTimer | null = null
  #isFailing = false
  #isClosed = false
  #reporting: Promise<void> = Promise.resolve()

  constructor(options: EdgeReporterOptions) {
    this.#options = options
  }

  start(): void {
    this.#again(REPORT_INTERVAL_MS)
  }

  /** Tells what was not told yet, once, unless the last report failed. Takes LAST_REPORT_MS at most. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#timer?.cancel()
    const { promise: late, resolve } = Promise.withResolvers<void>()
    const timer = this.#options.clock.startTimer(LAST_REPORT_MS, resolve)
    await Promise.race([late, this.#tellLast()])
    timer.cancel()
  }

  async #tellLast(): Promise<void> {
    await this.#reporting
    if (!this.#isFailing) await this.#report()
  }

  #again(intervalMs: number): void {
    if (this.#isClosed) return
    const delayMs = intervalMs * (0.5 + this.#options.random())
    this.#timer = this.#options.clock.startTimer(delayMs, () => {
      this.#reporting = this.#report()
    })
  }

  async #report(): Promise<void> {
    const now = this.#options.edges()
    const news = newEdges(now, this.#told)
    if (news.size === 0) {
      this.#again(REPORT_INTERVAL_MS)
      return
    }
    const sent = [...news].slice(0, MAX_REPORTED_EDGES)
    const report = { edges: sent.map(([, edge]) => edge), omitted: news.size - sent.length }
    const answer = await this.#options.send(report)
    if (answer?.kind === 'bytes') for (const [key] of sent) this.#told.set(key, now.get(key) ?? NO_COUNTS)
    this.#tellFailure(answer)
    const isUnserved = answer?.kind === 'status' && answer.code === UNIMPLEMENTED
    this.#again(isUnserved ? UNSERVED_INTERVAL_MS : REPORT_INTERVAL_MS)
  }

  #tellFailure(answer: GrpcAnswer | null): void {
    const isFailing = answer?.kind !== 'bytes'
    if (isFailing && !this.#isFailing) {
      const detail = answer === null ? 'no way to a controller' : `${answer.code} ${answer.details}`
      const { fix } = REASONS.EDGES_UNREPORTED
      this.#options.log.info({ reason: 'EDGES_UNREPORTED', detail, fix }, 'edges are kept for later')
    }
    this.#isFailing = isFailing
  }
}

/** What has changed, with what came since. */
function newEdges(
  now: ReadonlyMap<string, Edge>,
  told: ReadonlyMap<string, EdgeCounts>,
): ReadonlyMap<string, Edge> {
  const news = new Map<string, Edge>()
  for (const [key, edge] of now) {
    const since = countsSince(edge, told.get(key) ?? NO_COUNTS)
    if (!isNothing(since)) news.set(key, { ...edge, ...since })
  }
  return news
}
