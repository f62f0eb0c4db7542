// SPDX-License-Identifier: Apache-2.0
// What a worker tells of requests and connections that have ended: the log, taps, spans. All of it goes into one ring, and what
// finds no room is lost and counted: nobody waits for who reads.
import { TokenBucket } from '../../mesh/runtime/token-bucket.ts'
import { ENTRY_KINDS, type EntryKind } from '../../mesh/telemetry/record-ring.ts'
import { requestSpans } from '../tracing/request-spans.ts'
import type { AccessFormat } from './access-format.ts'
import { LOST_LINE, SPAN_LINE, TAP_LINE } from './lines.ts'
import type { LoggedRequest, LoggedSource } from './logged-request.ts'
import { formatRequestRecord } from './request-record.ts'
import { isWanted, type TapFilter } from './tap-filter.ts'
import type { TargetTelemetry } from './target-telemetry.ts'

/** Requests that one worker tells taps of in a second; the log must find room in the ring. */
const MAX_TAPPED_PER_SECOND = 1000

/** Where lines go. */
export interface LineSink {
  push(line: string, kind?: EntryKind): boolean
}

export class RequestLog {
  readonly #sink: LineSink
  readonly #format: AccessFormat | 'json' | 'off'
  readonly #tapRoom: TokenBucket
  #filters: readonly TapFilter[] = []
  #untoldCount = 0

  constructor(sink: LineSink, format: AccessFormat | 'json' | 'off', nowMs: number) {
    this.#sink = sink
    this.#format = format
    const [capacity, perSecond] = [MAX_TAPPED_PER_SECOND, MAX_TAPPED_PER_SECOND]
    this.#tapRoom = new TokenBucket({ capacity, perSecond }, nowMs)
  }

  /** What taps want from now on; none: nobody listens. */
  tap(filters: readonly TapFilter[]): void {
    this.#filters = filters
    if (filters.length === 0) this.#untoldCount = 0
  }

  /** A request or a connection has ended. `telemetry` null: nobody said anything about its target. */
  ended(
    source: LoggedSource,
    request: LoggedRequest,
    telemetry: Pick<TargetTelemetry, 'isLogged' | 'tags'> | null,
  ): void {
    if (this.#format !== 'off' && (telemetry === null || telemetry.isLogged(request, source)))
      this.#sink.push(
        this.#format === 'json' ? formatRequestRecord(source, request) : this.#format.line(source, request),
      )
    if (this.#filters.length > 0) this.#tell(source, request)
    if (request.trace?.isReported === true)
      for (const span of requestSpans(source, request, request.trace, telemetry?.tags ?? []))
        this.#sink.push(`${SPAN_LINE}${span}`, ENTRY_KINDS.aside)
  }

  #tell(source: LoggedSource, request: LoggedRequest): void {
    const { path, status, reason } = request
    const { sender, caller } = source
    const tapped = { path, status, reason: reason.code, ...sender, namespace: caller.namespace }
    if (!this.#filters.some((filter) => isWanted(filter, tapped))) return
    if (!this.#tapRoom.take(request.endedMs)) {
      this.#untoldCount++
      return
    }
    if (this.#untoldCount > 0) this.#sink.push(`${LOST_LINE}${this.#untoldCount}`, ENTRY_KINDS.aside)
    this.#untoldCount = 0
    this.#sink.push(`${TAP_LINE}${formatRequestRecord(source, request)}`, ENTRY_KINDS.aside)
  }
}
