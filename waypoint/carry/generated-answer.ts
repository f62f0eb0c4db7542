// SPDX-License-Identifier: Apache-2.0
// Answers that the waypoint gives itself: each has its reason in a header, and calls of gRPC get a status that their client
// understands. SPEC grpc PROTOCOL-HTTP2, Trailers-Only. Pure.
import { REASONS, type ReasonCode } from '../../mesh/errors/reasons.ts'
import type { Refusal } from '../../mesh/errors/refusal.ts'
import { grpcMessage, grpcStatusOfHttp } from '../../mesh/http/grpc-status.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import { REASON_HEADER } from '../../mesh/http/reason-answer.ts'
import type { FaultAbort } from '../filters/fault.ts'

/** An answer of ours. */
export interface GeneratedAnswer {
  /** HTTP status, for records; of a call of gRPC 200. */
  readonly status: number
  readonly headers: HeaderList
  /** null: none. */
  readonly body: Uint8Array | null
}

/** HTTP's own word where the reason's status is that of a tunnel. */
const STATUS: Partial<Readonly<Record<ReasonCode, number>>> = {
  POLICY_DENY: 403,
  POLICY_NO_ALLOW: 403,
}

/** Says why in a header, and to people in a line. */
export function refusedAnswer(
  refusal: Refusal,
  isGrpcCall: boolean,
  abort: FaultAbort = null,
): GeneratedAnswer {
  const { code, detail } = refusal
  const reason = REASONS[code]
  if (isGrpcCall || abort?.kind === 'grpc') {
    const grpcStatus =
      abort?.kind === 'grpc'
        ? abort.status
        : abort === null
          ? reason.grpcStatus
          : grpcStatusOfHttp(abort.status)
    const headers = [
      ...[':status', '200', 'content-type', 'application/grpc'],
      ...['grpc-status', String(grpcStatus), 'grpc-message', grpcMessage(`${code}: ${detail}`)],
      ...[REASON_HEADER, code],
    ]
    return { status: 200, headers, body: null }
  }
  const status = abort === null ? (STATUS[code] ?? reason.httpStatus) : abort.status
  const body = Buffer.from(`${code}: ${reason.fix}\n`)
  const headers = [
    ...[':status', String(status), 'content-type', 'text/plain', 'content-length', String(body.length)],
    ...[REASON_HEADER, code],
  ]
  return { status, headers, body }
}
