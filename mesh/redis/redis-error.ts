// SPDX-License-Identifier: Apache-2.0
// What Redis or the way to it says → a reason code. Pure.
import { MeshError } from '../errors/mesh-error.ts'
import type { ReasonCode } from '../errors/reasons.ts'

/** First words of Redis' errors that are about the user. SPEC REDIS-ACL. */
const DENIED = /^(?:WRONGPASS|NOAUTH|NOPERM|ERR AUTH|ERR Client sent AUTH)/
/** First words of errors that pass. */
const PASSING = /^(?:LOADING|BUSY|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|OOM|MISCONF|NOREPLICAS|NOSCRIPT)/
/** What a script of ours says to a replica that does not lead any more. */
const FENCED = /FENCED/
const TLS = /^(?:ERR_(?:OSSL|SSL|TLS)|CERT_|UNABLE_TO|DEPTH_ZERO|SELF_SIGNED|EPROTO|HOSTNAME_MISMATCH)/

const MAX_DETAIL = 200

/** The error as the rest of the program knows it; one that is already known stays. */
export function redisError(cause: unknown): MeshError {
  if (cause instanceof MeshError) return cause
  const { name, message, code } =
    cause instanceof Error ? (cause as NodeJS.ErrnoException) : unknownError(cause) // as: code is looked at only
  const detail = (message === '' ? (code ?? name) : message).slice(0, MAX_DETAIL)
  const reason = reasonOf(name, message, code ?? '')
  return new MeshError(reason, { side: 'upstream', retryable: reason !== 'FENCED', detail, cause })
}

function unknownError(cause: unknown): { name: string; message: string; code?: string } {
  return { name: 'Error', message: String(cause) }
}

function reasonOf(name: string, message: string, code: string): ReasonCode {
  if (TLS.test(code)) return 'REDIS_TLS'
  if (DENIED.test(message)) return 'REDIS_DENIED'
  if (FENCED.test(message)) return 'FENCED'
  // An answer of the server: everything else never reached it, or got none.
  if (name === 'ReplyError' && !PASSING.test(message)) return 'REDIS_ANSWER'
  return 'REDIS_UNAVAILABLE'
}
