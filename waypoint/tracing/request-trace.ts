// SPDX-License-Identifier: Apache-2.0
// A request's place in a trace: continued where its caller is in one, else begun. What the caller says of keeping it is
// followed; who says nothing is chosen by the trace id. SPEC W3C Trace Context §3.2.2.3, OTel ParentBased sampling.

import type { ReasonCode } from '../../mesh/errors/reasons.ts'
import { createTraceIds, isTraceChosen } from '../../mesh/hbone/traceparent.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import type { EndpointView } from '../upstream/cluster-view.ts'
import { type ReadContext, readTraceContext, withTraceContext } from './trace-context.ts'

/** Attempts of one request that become spans; later ones are told by the last of them. */
export const MAX_ATTEMPT_SPANS = 16

/** One attempt to have it answered. Times are the reactor's. */
export interface AttemptSpan {
  readonly spanId: string
  readonly startMs: number
  /** NaN: until the request's own end. */
  endMs: number
  /** 0: there was no answer. */
  status: number
  code: ReasonCode
  /** null: none was reached or tried. */
  endpoint: EndpointView | null
  /** Its answer is not the request's: another attempt follows. */
  isGivenUp: boolean
}

/** What is said about the traces of a service's requests. */
export interface TraceSettings {
  /** null: as the waypoint does. */
  readonly samplesPerMillion: number | null
  /** False: traces go on, and no span of ours is sent. */
  readonly isReported: boolean
}

export class RequestTrace {
  readonly traceId: string
  /** Of the request's span; '': it is not reported. */
  readonly spanId: string
  /** Span of the caller; ''. */
  readonly parentSpanId: string
  readonly isSampled: boolean
  readonly attempts: AttemptSpan[] = []
  readonly #read: ReadContext

  constructor(read: ReadContext, { samplesPerMillion, isReported }: TraceSettings, perMillion: number) {
    const { context, wanted } = read
    const ids = createTraceIds(context)
    this.#read = read
    this.traceId = ids.traceId
    this.parentSpanId = context?.spanId ?? ''
    this.isSampled =
      context?.isSampled ?? wanted ?? isTraceChosen(ids.traceId, samplesPerMillion ?? perMillion)
    this.spanId = this.isSampled && isReported ? ids.spanId : ''
  }

  /** Its spans are sent to the collector. */
  get isReported(): boolean {
    return this.spanId !== ''
  }

  /** An attempt begins: its fields, with the context that the service is to go on with. */
  begin(headers: HeaderList, nowMs: number): HeaderList {
    if (!this.isReported) return this.copy(headers)
    const { spanId } = createTraceIds(this)
    const attempt: AttemptSpan = {
      ...{ spanId, startMs: nowMs, endMs: Number.NaN, status: 0, code: 'OK' },
      ...{ endpoint: null, isGivenUp: false },
    }
    if (this.attempts.length === MAX_ATTEMPT_SPANS) this.attempts.pop()
    this.attempts.push(attempt)
    return this.#withContext(headers, spanId, this.spanId)
  }

  /** The fields of a copy of the request, which is no attempt: below the request itself, or where that stands. */
  copy(headers: HeaderList): HeaderList {
    if (this.isReported) return this.#withContext(headers, this.spanId, this.parentSpanId)
    const { context } = this.#read
    return this.#withContext(
      headers,
      context?.spanId ?? createTraceIds(this).spanId,
      context?.parentSpanId ?? '',
    )
  }

  /** What became of the attempt that is under way. */
  note(status: number, code: ReasonCode, endpoint: EndpointView | null, nowMs: number): void {
    const attempt = this.attempts.at(-1)
    if (attempt === undefined) return
    attempt.status = status
    attempt.code = code
    attempt.endpoint = endpoint
    attempt.endMs = nowMs
  }

  /** The attempt that is under way is over; what happens to the request from now on is not its doing. */
  giveUp(): void {
    const attempt = this.attempts.at(-1)
    if (attempt !== undefined) attempt.isGivenUp = true
  }

  #withContext(headers: HeaderList, spanId: string, parentSpanId: string): HeaderList {
    const { traceId, isSampled } = this
    const isDebug = this.#read.context?.isDebug === true
    const sent = { traceId, spanId, parentSpanId, isSampled, isDebug }
    return withTraceContext(headers, this.#read, sent)
  }
}

const AS_EVERYBODY: TraceSettings = { samplesPerMillion: null, isReported: true }

/** Of one worker. */
export class Tracer {
  readonly #perMillion: number

  constructor(perMillion: number) {
    this.#perMillion = perMillion
  }

  /** `settings` null: nobody said anything. */
  begin(headers: HeaderList, settings: TraceSettings | null): RequestTrace {
    return new RequestTrace(readTraceContext(headers), settings ?? AS_EVERYBODY, this.#perMillion)
  }
}
