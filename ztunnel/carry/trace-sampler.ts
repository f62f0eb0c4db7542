// SPDX-License-Identifier: Apache-2.0
// Which connections become spans, and their place in a trace. SPEC W3C Trace Context §3.2: a caller that keeps its part of a
// trace says so, and is followed. For all others the trace id decides, so that both ends of a tunnel decide alike.
import {
  createTraceIds,
  isTraceChosen,
  parseTraceparent,
  type TraceParent,
} from '../../mesh/hbone/traceparent.ts'

/** A connection in a trace. `parentSpanId` '' : it began the trace. */
export interface ConnectionTrace extends TraceParent {
  readonly parentSpanId: string
}

/** Of one worker. */
export class TraceSampler {
  readonly #perMillion: number

  constructor(perMillion: number) {
    this.#perMillion = perMillion
  }

  /** `traceparent` as the caller sent it; '' or what is none: there is no caller that knows of traces. */
  begin(traceparent: string): ConnectionTrace {
    const parent = traceparent === '' ? null : parseTraceparent(traceparent)
    const ids = createTraceIds(parent)
    const isSampled = parent?.isSampled === true || isTraceChosen(ids.traceId, this.#perMillion)
    return { ...ids, parentSpanId: parent?.spanId ?? '', isSampled }
  }
}
