// SPDX-License-Identifier: Apache-2.0
// The answer of our own to a request that no application answers: the status of a reason code, and the code itself. Pure.
import { REASONS, type ReasonCode } from '../errors/reasons.ts'
import type { CloseReason } from '../reactor/byte-stream.ts'
import { grpcMessage, isGrpc } from './grpc-status.ts'
import type { HeaderList } from './header-list.ts'

/** The field that tells a generated answer from an application's. */
export const REASON_HEADER = 'x-sidestep-reason'

/**
 * The whole answer to `request`, which has no body. A call of gRPC gets its status as trailers-only; `message` is for people, and
 * says no more than the caller may know.
 */
export function reasonAnswer(request: HeaderList, code: ReasonCode, message: string = code): HeaderList {
  const { httpStatus, grpcStatus } = REASONS[code]
  if (!isGrpc(request)) return [':status', String(httpStatus), REASON_HEADER, code]
  return [
    ...[':status', '200', 'content-type', 'application/grpc'],
    ...['grpc-status', String(grpcStatus), 'grpc-message', grpcMessage(message), REASON_HEADER, code],
  ]
}

/** Why a service did not answer, as its caller is told: what the service broke of the protocol is not the caller's fault. */
export function upstreamReason(reason: CloseReason): CloseReason {
  const isOfService = reason.code.startsWith('H2_') || reason.code.startsWith('HTTP')
  return isOfService ? { code: 'UPSTREAM_PROTOCOL', detail: told(reason) } : reason
}

/** Why an answer is broken off. Many clients read CANCEL as an end: half an answer would look like a whole one. */
export function cutShort(reason: CloseReason): CloseReason {
  const isSoft = REASONS[reason.code].h2Reset === 'CANCEL'
  return isSoft ? { code: 'PEER_RESET', detail: told(reason) } : reason
}

function told({ code, detail }: CloseReason): string {
  return `${code}: ${detail}`
}
