// SPDX-License-Identifier: Apache-2.0
// Which header lists are well formed (RFC 9113 §8.2, §8.3, §8.5). Strict: what two parsers could read differently
// is refused. Pure; cost is linear in the list, whose size the decoder bounded.
import type { HeaderList } from './hpack/decoder.ts'

/** RFC 9110 §5.6.2 token characters without upper case: what a field name consists of. */
const IS_NAME_CHAR = new Uint8Array(256)
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") IS_NAME_CHAR[char.charCodeAt(0)] = 1

// SPEC RFC9113 §8.2.2: fields that belong to one connection of HTTP/1.1 make a message malformed.
const CONNECTION_FIELDS = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
])
const COLON = 0x3a

/** First value of a field, or undefined. Names are lower case. */
export function headerValue(headers: HeaderList, name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) if (headers[i] === name) return headers[i + 1]
  return undefined
}

/** What is wrong with a request's header list, or '' when nothing is. */
export function requestFault(headers: HeaderList): string {
  const fault = listFault(headers, 'request')
  if (fault !== '') return fault
  const method = headerValue(headers, ':method')
  if (method === undefined || method === '') return ':method is missing'
  const authority = headerValue(headers, ':authority')
  const scheme = headerValue(headers, ':scheme')
  const path = headerValue(headers, ':path')
  if (method === 'CONNECT') {
    // SPEC RFC9113 §8.5: CONNECT has :authority, and neither :scheme nor :path.
    if (scheme !== undefined || path !== undefined) return 'CONNECT with :scheme or :path'
    return authority === undefined || authority === '' ? 'CONNECT without :authority' : ''
  }
  if (scheme === undefined || scheme === '') return ':scheme is missing'
  return path === undefined || path === '' ? ':path is missing' : ''
}

/** What is wrong with a response's header list, or ''. */
export function responseFault(headers: HeaderList): string {
  const fault = listFault(headers, 'response')
  if (fault !== '') return fault
  const status = headerValue(headers, ':status')
  return status !== undefined && /^[1-9]\d\d$/.test(status) ? '' : ':status'
}

/** What is wrong with trailers, or ''. */
export function trailersFault(headers: HeaderList): string {
  return listFault(headers, 'trailers')
}

type Kind = 'request' | 'response' | 'trailers'

function pseudoBit(name: string, kind: Kind): number {
  if (kind === 'response') return name === ':status' ? 1 : 0
  if (kind === 'trailers') return 0
  switch (name) {
    case ':method':
      return 1
    case ':scheme':
      return 2
    case ':authority':
      return 4
    case ':path':
      return 8
    default:
      return 0 // :protocol too: extended CONNECT is not announced
  }
}

function listFault(headers: HeaderList, kind: Kind): string {
  let seen = 0
  let isRegular = false
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] ?? ''
    const value = headers[i + 1] ?? ''
    if (!isFieldValue(value)) return 'a field value has forbidden characters'
    if (name.charCodeAt(0) === COLON) {
      // SPEC RFC9113 §8.3: pseudo-headers come first, once each, and only the defined ones.
      const bit = pseudoBit(name, kind)
      if (bit === 0) return 'unknown pseudo-header'
      if (isRegular) return 'pseudo-header after a field'
      if (seen & bit) return 'pseudo-header twice'
      seen |= bit
      continue
    }
    isRegular = true
    if (!isFieldName(name)) return 'field name'
    if (CONNECTION_FIELDS.has(name)) return 'connection-specific field'
    if (name === 'te' && value !== 'trailers') return 'te'
  }
  return ''
}

/** SPEC RFC9113 §8.2.1: lower-case tokens only. */
export function isFieldName(name: string): boolean {
  for (let i = 0; i < name.length; i++) if (IS_NAME_CHAR[name.charCodeAt(i)] !== 1) return false
  return name.length > 0
}

/** SPEC RFC9113 §8.2.1: no NUL, CR or LF, and no white space at either end. */
export function isFieldValue(value: string): boolean {
  const last = value.length - 1
  for (let i = 0; i <= last; i++) {
    const char = value.charCodeAt(i)
    if (char === 0 || char === 10 || char === 13) return false
    if ((i === 0 || i === last) && (char === 32 || char === 9)) return false
  }
  return true
}
