// SPDX-License-Identifier: Apache-2.0
// The head of a request: its line, where it goes, how long its body is. Gives the form HTTP/2 gives, pseudo-header fields first,
// so that everything after the codec knows one form. Hostile input: never throws. SPEC RFC9112 §3, RFC9110 §7.2.
import { type Refusal, refuse } from '../errors/refusal.ts'
import type { HeaderList } from '../http/header-list.ts'
import { CR, endOfTarget, endOfToken, isAuthority, LF, SP } from '../http/syntax.ts'
import { ambiguous, type Fields, malformed, parseFields } from './head.ts'

/** How a body ends. */
export type BodyLength =
  | { readonly kind: 'none' }
  | { readonly kind: 'bytes'; readonly bytes: number }
  | { readonly kind: 'chunked' }
  /** Answers only: with the connection. */
  | { readonly kind: 'until-close' }

export const NO_BODY: BodyLength = { kind: 'none' }
export const CHUNKED_BODY: BodyLength = { kind: 'chunked' }

/** A request without its body. */
export interface RequestHead {
  readonly kind: 'request'
  readonly method: string
  /** `:method`, `:scheme`, `:authority`, `:path`, then the fields. CONNECT has neither scheme nor path. */
  readonly headers: HeaderList
  readonly body: BodyLength
  /** The connection may be used again after it. */
  readonly isKeptAlive: boolean
  /** HTTP/1.0: knows neither chunks nor interim answers. */
  readonly isOld: boolean
  /** What the client would change to, which stands in `headers` too; ''. CONNECT asks for no less. */
  readonly upgrade: string
}

/** `text`: from the request line to the empty line. `scheme`: of the connection it came on. */
export function parseRequestHead(text: string, scheme: string): RequestHead | Refusal {
  const methodEnd = endOfToken(text, 0)
  if (methodEnd === 0 || text.charCodeAt(methodEnd) !== SP) return malformed('the method')
  const targetEnd = endOfTarget(text, methodEnd + 1)
  if (targetEnd === methodEnd + 1 || text.charCodeAt(targetEnd) !== SP) return malformed('the request target')
  const lineEnd = targetEnd + 9
  if (
    text.charCodeAt(lineEnd) !== CR ||
    text.charCodeAt(lineEnd + 1) !== LF ||
    !text.startsWith('HTTP/', targetEnd + 1)
  )
    return malformed('the request line')
  const version = text.substring(targetEnd + 6, lineEnd)
  if (version !== '1.1' && version !== '1.0') {
    const isVersion = /^\d\.\d$/.test(version)
    return isVersion ? refuse('HTTP_VERSION', version) : malformed('the version')
  }
  const method = text.substring(0, methodEnd)
  // The places of :authority and :path are filled once the fields are known.
  const headers: string[] = [':method', method, ':scheme', scheme, ':authority', '', ':path', '']
  const fields = parseFields(text, lineEnd + 2, headers)
  if (fields.kind === 'refusal') return fields
  const isOld = version === '1.0'
  if (fields.isChunked && isOld) return ambiguous('Transfer-Encoding in HTTP/1.0')
  const place = placeOf(method, text.substring(methodEnd + 1, targetEnd), fields, isOld)
  if (place.kind === 'refusal') return place
  headers[AUTHORITY_AT] = place.authority
  headers[PATH_AT] = place.path
  const body = bodyOf(fields)
  const upgrade = isOld || body.kind !== 'none' ? '' : upgradeOf(fields)
  if (fields.hasTrailersTe) headers.push('te', 'trailers')
  if (upgrade !== '') headers.push('upgrade', upgrade)
  return {
    kind: 'request',
    method,
    headers: method === 'CONNECT' ? withoutTarget(headers) : headers,
    body,
    isKeptAlive: isOld ? fields.wantsKeepAlive && !fields.wantsClose : !fields.wantsClose,
    isOld,
    upgrade,
  }
}

const AUTHORITY_AT = 5
const PATH_AT = 7

/** SPEC RFC9113 §8.5: CONNECT has neither :scheme nor :path. */
function withoutTarget(headers: HeaderList): HeaderList {
  return [...headers.slice(0, 2), ...headers.slice(4, 6), ...headers.slice(8)]
}

/**
 * SPEC RFC9110 §7.8: whoever does not want to change ignores the field. Another version of HTTP behind a 101 would carry requests
 * that no rule is asked about.
 */
function upgradeOf({ upgrade }: Fields): string {
  return upgrade === '' || /h2c|http|tls/i.test(upgrade) ? '' : upgrade
}

function bodyOf({ isChunked, contentLength }: Fields): BodyLength {
  if (isChunked) return CHUNKED_BODY
  return contentLength > 0 ? { kind: 'bytes', bytes: contentLength } : NO_BODY
}

interface Place {
  readonly kind: 'place'
  readonly authority: string
  readonly path: string
}

/** SPEC RFC9112 §3.2: four forms of a target, and the one Host that goes with each. */
function placeOf(
  method: string,
  target: string,
  { hosts, isChunked, contentLength }: Fields,
  isOld: boolean,
): Place | Refusal {
  const [host = ''] = hosts
  if (hosts.length > 1) return refuse('HTTP1_HOST', 'Host twice')
  if (hosts.length === 0 && !isOld) return refuse('HTTP1_HOST', 'no Host')
  if (hosts.length === 1 && !isAuthority(host)) return refuse('HTTP1_HOST', 'no host is named so')
  const authority = host.toLowerCase()
  if (method === 'CONNECT') {
    if (isChunked || contentLength > 0) return ambiguous('CONNECT with a body')
    const isTunnel = isAuthority(target) && /:\d+$/.test(target)
    if (!isTunnel) return malformed('CONNECT needs host:port')
    if (hosts.length === 1 && authority !== target.toLowerCase())
      return ambiguous('CONNECT to one host, Host of another')
    return { kind: 'place', authority: target.toLowerCase(), path: '' }
  }
  if (target.charCodeAt(0) === SLASH) return { kind: 'place', authority, path: target }
  if (target === '*') {
    if (method !== 'OPTIONS') return malformed('the request target')
    return { kind: 'place', authority, path: target }
  }
  // SPEC RFC9112 §3.2.2: the absolute form wins over Host; whoever sends two different ones wants readers to differ.
  const absolute = /^https?:\/\/([^/?]+)(\/.*|\?.*)?$/i.exec(target)
  const named = absolute?.[1]?.toLowerCase()
  if (named === undefined || !isAuthority(named)) return malformed('the request target')
  if (hosts.length === 1 && named !== authority) return ambiguous('the target names one host, Host another')
  const rest = absolute?.[2] ?? ''
  if (rest === '' && method === 'OPTIONS') return { kind: 'place', authority: named, path: '*' }
  return { kind: 'place', authority: named, path: rest.startsWith('/') ? rest : `/${rest}` }
}

const SLASH = 0x2f
