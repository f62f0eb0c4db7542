// SPDX-License-Identifier: Apache-2.0
// Tells the log of what never became a request: a message that could not be read, a connection that was refused or carried as
// bytes.
import { REASONS } from '../../mesh/errors/reasons.ts'
import type { CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { LoggedRequest, LoggedSource } from '../records/logged-request.ts'
import type { ExchangeSource } from './exchange.ts'
import type { WaypointContext } from './waypoint-context.ts'

const NOTHING: Omit<LoggedRequest, 'reason' | 'startedMs' | 'endedMs'> = {
  ...{ headers: [], answerHeaders: null, method: '', host: '', path: '', status: 0, grpcStatus: null },
  ...{ marks: 0, endpoint: null, known: null, route: '', requestId: '', policy: '', policyNotes: [] },
  ...{ attemptCount: 0, bytesReceived: 0, bytesSent: 0 },
  ...{ sentMs: Number.NaN, answeredMs: Number.NaN, trace: null },
}

/** What could not become a request. */
export function recordRefused(source: ExchangeSource, reason: CloseReason): void {
  const { log, reactor } = source.context
  const { httpStatus: status } = REASONS[reason.code]
  const times = { startedMs: reactor.nowMs, endedMs: reactor.nowMs }
  log.ended(source, { ...NOTHING, ...times, reason, status }, source.target.telemetry)
}

/** What is known of a connection besides: of one that is carried all but its caller's address. */
export interface ConnectionFacts
  extends Partial<
    Pick<LoggedRequest, 'endpoint' | 'known' | 'route' | 'bytesReceived' | 'bytesSent' | 'startedMs'>
  > {
  /** Address of its caller. */
  readonly ip?: string
}

/** A connection that carried no request: refused, or bytes. */
export function recordConnection(
  { log, reactor }: WaypointContext,
  authority: string,
  identity: string,
  reason: CloseReason,
  facts: ConnectionFacts = {},
): void {
  const { ip = '', endpoint = null, known = null, route = '', bytesReceived = 0, bytesSent = 0 } = facts
  const source: LoggedSource = {
    ...{ sender: { ip, identity }, caller: { namespace: '' }, version: null },
    target: { view: { kind: 'connection', authority } },
  }
  const times = { startedMs: facts.startedMs ?? reactor.nowMs, endedMs: reactor.nowMs }
  const carried = { endpoint, known, route, bytesReceived, bytesSent }
  log.ended(source, { ...NOTHING, ...times, ...carried, reason }, null)
}
