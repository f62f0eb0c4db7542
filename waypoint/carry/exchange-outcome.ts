// SPDX-License-Identifier: Apache-2.0
// What is known of a request when it has ended: for counters, records and spans.
import { isGrpc } from '../../mesh/http/grpc-status.ts'
import { type HeaderList, headerValue } from '../../mesh/http/header-list.ts'
import type { CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { RequestFacts } from '../decide/request-facts.ts'
import type { LoggedRequest } from '../records/logged-request.ts'
import type { RequestTrace } from '../tracing/request-trace.ts'
import type { EndpointView } from '../upstream/cluster-view.ts'
import type { RequestPlan } from './request-plan.ts'
import type { EndedRequest } from './request-series.ts'
import type { KnownCluster } from './waypoint-context.ts'

/** Filled by the exchange, which is one: a request costs no object more for it. */
export abstract class ExchangeOutcome implements EndedRequest, LoggedRequest {
  readonly headers: HeaderList
  readonly startedMs: number
  /** null: nobody traces. */
  readonly trace: RequestTrace | null
  /** null: it could not be read. */
  facts: RequestFacts | null = null
  /** 0: none was answered. */
  status = 0
  reason: CloseReason = { code: 'OK', detail: '' }
  bytesReceived = 0
  bytesSent = 0
  endpoint: EndpointView | null = null
  known: KnownCluster | null = null
  attemptCount = 0
  /** What let it in or refused it; ''. */
  policy = ''
  /** What was only recorded: see Verdict. */
  policyNotes: readonly string[] = []
  grpcStatus: number | null = null
  /** As EndedRequest. */
  marks = 0
  /** null: it was not sent on. */
  plan: RequestPlan | null = null
  answerHeaders: HeaderList | null = null
  /** NaN until then. */
  sentMs = Number.NaN
  answeredMs = Number.NaN
  endedMs = Number.NaN

  constructor(headers: HeaderList, startedMs: number, trace: RequestTrace | null) {
    this.headers = headers
    this.startedMs = startedMs
    this.trace = trace
  }

  get method(): string {
    return this.facts?.method ?? ''
  }
  get path(): string {
    return this.facts?.path ?? ''
  }
  get host(): string {
    return this.facts?.host ?? ''
  }
  get isCall(): boolean {
    return isGrpc(this.headers)
  }
  get route(): string {
    return this.plan?.origin ?? ''
  }
  get requestId(): string {
    return this.plan?.requestId ?? headerValue(this.headers, 'x-request-id') ?? ''
  }
}
