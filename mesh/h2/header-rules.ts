// SPDX-License-Identifier: Apache-2.0
// Which header lists are well formed (RFC 9113 §8.2, §8.3, §8.5). Strict: what two parsers could read differently
// is refused. Pure; cost is linear in the list, whose size the decoder bounded.
import { type HeaderList, headerValue } from '../http/header-list.ts'
import { endOfFieldValue, endOfTarget, HTAB, isAuthority, isToken, parseLength, SP } from '../http/syntax.ts'

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
const SLASH = 0x2f

/** What is wrong with a request's header list, or '' when nothing is. */
export function requestFault(headers: HeaderList): string {
  const fault = listFault(headers, 'request')
  if (fault !== '') return fault
  const method = headerValue(headers, ':method')
  if (method === undefined || !isToken(method)) return ':method'
  const authority = headerValue(headers, ':authority')
  const scheme = headerValue(headers, ':scheme')
  const path = headerValue(headers, ':path')
  const hostFault = faultOfHost(headers, authority)
  if (hostFault !== '') return hostFault
  if (method === 'CONNECT') {
    // SPEC RFC9113 §8.5: CONNECT has :authority, and neither :scheme nor :path.
    if (scheme !== undefined || path !== undefined) return 'CONNECT with :scheme or :path'
    return authority === undefined || authority === '' ? 'CONNECT without :authority' : ''
  }
  // SPEC RFC9113 §8.3.1: user information, an empty host and an empty path are no part of a request.
  if (scheme === undefined || !isScheme(scheme)) return ':scheme'
  if (authority !== undefined && !isAuthority(authority)) return ':authority'
  if (path === undefined || !isPath(path, method)) return ':path'
  return contentLength(headers) === undefined ? 'content-length' : ''
}

/** SPEC RFC9113 §8.3.1: a Host that names another host than :authority would be believed by somebody. */
function faultOfHost(headers: HeaderList, authority: string | undefined): string {
  let seen: string | undefined
  for (let i = 0; i + 1 < headers.length; i += 2) {
    if (headers[i] !== 'host') continue
    const host = headers[i + 1] ?? ''
    if (seen !== undefined) return 'host twice'
    if (!isAuthority(host)) return 'host'
    if (authority !== undefined && host.toLowerCase() !== authority.toLowerCase())
      return ':authority names one host, host another'
    seen = host
  }
  return ''
}

function isScheme(scheme: string): boolean {
  return scheme === 'http' || scheme === 'https' || /^[a-z][-+.a-z0-9]*$/.test(scheme)
}

function isPath(path: string, method: string): boolean {
  if (path.charCodeAt(0) !== SLASH) return path === '*' && method === 'OPTIONS'
  return endOfTarget(path, 0) === path.length
}

/** -1: there is none; undefined: it is no length, or there are two. */
export function contentLength(headers: HeaderList): number | undefined {
  let length = -1
  for (let i = 0; i + 1 < headers.length; i += 2) {
    if (headers[i] !== 'content-length') continue
    const next = parseLength(headers[i + 1] ?? '')
    if (next === undefined || length >= 0) return undefined
    length = next
  }
  return length
}

/** What is wrong with a response's header list, or ''. */
export function responseFault(headers: HeaderList): string {
  const fault = listFault(headers, 'response')
  if (fault !== '') return fault
  const status = headerValue(headers, ':status')
  // SPEC RFC9113 §8.6: HTTP/2 has no 101.
  if (status === undefined || status === '101' || !/^[1-9]\d\d$/.test(status)) return ':status'
  return contentLength(headers) === undefined ? 'content-length' : ''
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

/** SPEC RFC9113 §8.2.1, RFC9110 §5.5: no control character but the tab, and no white space at either end. */
export function isFieldValue(value: string): boolean {
  return (
    endOfFieldValue(value, 0) === value.length &&
    !isBlank(value.charCodeAt(0)) &&
    !isBlank(value.charCodeAt(value.length - 1))
  )
}

/** Of '' the first and last characters are NaN. */
function isBlank(char: number): boolean {
  return char === SP || char === HTAB
}
