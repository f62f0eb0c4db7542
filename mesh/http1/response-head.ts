// SPDX-License-Identifier: Apache-2.0
// The head of an answer, in the form HTTP/2 gives. What comes from upstream is no more trusted than what comes from a client.
// SPEC RFC9112 §4, §6.3.
import { type Refusal, refuse } from '../errors/refusal.ts'
import type { HeaderList } from '../http/header-list.ts'
import { CR, endOfFieldValue, LF, SP } from '../http/syntax.ts'
import { ambiguous, type Fields, malformed, parseFields } from './head.ts'
import { type BodyLength, CHUNKED_BODY, NO_BODY } from './request-head.ts'

/** An answer without its body; one of 1xx is followed by another. */
export interface ResponseHead {
  readonly kind: 'response'
  readonly status: number
  /** `:status`, then the fields. */
  readonly headers: HeaderList
  readonly body: BodyLength
  /** The connection may be used again after it. */
  readonly isKeptAlive: boolean
  /** What the server has changed to: of 101, and of no other. */
  readonly upgrade: string
}

/** `text`: from the status line to the empty line. `method`: of the request that it answers. */
export function parseResponseHead(text: string, method: string): ResponseHead | Refusal {
  if (!text.startsWith('HTTP/1.') || text.charCodeAt(8) !== SP) return malformed('the status line')
  const minor = text.charCodeAt(7) - 0x30
  if (minor !== 0 && minor !== 1) return refuse('HTTP_VERSION', text.substring(5, 8))
  const status = Number(text.substring(9, 12))
  if (!/^[1-5]\d\d$/.test(text.substring(9, 12))) return malformed('the status')
  // SPEC RFC9112 §4: the space after the status stays when there is no reason phrase; many leave it out, and all read both.
  const lineEnd = text.charCodeAt(12) === SP ? endOfFieldValue(text, 13) : 12
  if (text.charCodeAt(lineEnd) !== CR || text.charCodeAt(lineEnd + 1) !== LF)
    return malformed('the status line')
  const fields = parseFields(text, lineEnd + 2)
  if (fields.kind === 'refusal') return fields
  if (fields.isChunked && minor === 0) return ambiguous('Transfer-Encoding in HTTP/1.0')
  const body = bodyOf(fields, status, method)
  if (body.kind === 'refusal') return body
  const keepsAlive = minor === 0 ? fields.wantsKeepAlive && !fields.wantsClose : !fields.wantsClose
  const upgrade = status === 101 ? fields.upgrade : ''
  if (status === 101 && upgrade === '') return malformed('101 without Upgrade')
  return {
    kind: 'response',
    status,
    headers: [':status', String(status), ...fields.headers, ...(upgrade === '' ? [] : ['upgrade', upgrade])],
    body,
    isKeptAlive: keepsAlive && body.kind !== 'until-close',
    upgrade,
  }
}

/** SPEC RFC9112 §6.3. */
function bodyOf({ isChunked, contentLength }: Fields, status: number, method: string): BodyLength | Refusal {
  const isHead = method === 'HEAD'
  if (status < 200 || status === 204) {
    // SPEC RFC9110 §8.6, RFC9112 §6.1: these have no body, and must not say that they have.
    return isChunked || contentLength > 0 ? ambiguous(`a body in an answer of ${status}`) : NO_BODY
  }
  if (isHead || status === 304) return NO_BODY
  if (method === 'CONNECT' && status < 300) return NO_BODY
  if (isChunked) return CHUNKED_BODY
  if (contentLength < 0) return { kind: 'until-close' }
  return contentLength === 0 ? NO_BODY : { kind: 'bytes', bytes: contentLength }
}
