// SPDX-License-Identifier: Apache-2.0
// Reads the fields of a head, and what they say of the connection and of the length of the body. Input is hostile: nothing
// throws, cost is linear in the head, whose size the reader bounded. SPEC RFC9112 §2–§7.
import { type Refusal, refuse } from '../errors/refusal.ts'
import { dropHeaders, type HeaderList } from '../http/header-list.ts'
import { COLON, CR, endOfFieldValue, endOfToken, HTAB, isToken, LF, parseLength, SP } from '../http/syntax.ts'
import { HTTP1_LIMITS } from './limits.ts'

/** The fields of a head without those that belong to the connection; names are lower case. */
export interface Fields {
  readonly kind: 'fields'
  readonly headers: HeaderList
  /** Values of Host, in order: a request has one. */
  readonly hosts: readonly string[]
  /** -1: there is none. */
  readonly contentLength: number
  readonly isChunked: boolean
  readonly wantsClose: boolean
  readonly wantsKeepAlive: boolean
  /** What an Upgrade that Connection names offers, as it was written; ''. */
  readonly upgrade: string
  readonly hasTrailersTe: boolean
  /** One of CONNECTION_FIELDS, Host or Content-Length is among them: never in trailers. */
  readonly hasFraming: boolean
}

/** Spellings that are seen all day, of fields that mean nothing to a connection: their lower case is known. */
const ORDINARY = new Map([['ETag', 'etag']])
const SEEN_ALL_DAY =
  'user-agent accept accept-encoding accept-language authorization cookie referer content-type cache-control origin date ' +
  'server set-cookie location etag last-modified vary expires x-request-id x-forwarded-for x-forwarded-proto traceparent ' +
  'tracestate'
for (const name of SEEN_ALL_DAY.split(' ')) {
  ORDINARY.set(name, name)
  ORDINARY.set(
    name.replace(/(?:^|-)[a-z]/g, (first) => first.toUpperCase()),
    name,
  )
}

/** Fields of one connection: whoever passes a message on leaves them out. SPEC RFC9110 §7.6.1. */
export const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
])
/** Fields without which a message is another one: Connection may not take them away. */
const LASTING_FIELDS = new Set(['host', 'content-length', 'authorization', 'cookie', 'cache-control'])

/** Reads field lines from `at` to the empty line that ends `text`; fields are put behind what `headers` has. */
export function parseFields(text: string, at: number, headers: string[] = []): Fields | Refusal {
  const hosts: string[] = []
  let contentLength = -1
  let codings = ''
  let connection = ''
  let upgrade = ''
  let te = ''
  let hasFraming = false
  let count = 0
  while (text.charCodeAt(at) !== CR) {
    if (++count > HTTP1_LIMITS.fields.value)
      return refuse('HTTP_HEADERS_TOO_LARGE', `more than ${HTTP1_LIMITS.fields.value} fields`)
    const nameEnd = endOfToken(text, at)
    // SPEC RFC9112 §5.1: no white space before the colon; §5.2: a line that begins with it continues nothing.
    if (nameEnd === at || text.charCodeAt(nameEnd) !== COLON) return malformed('a field name')
    let start = nameEnd + 1
    while (text.charCodeAt(start) === SP || text.charCodeAt(start) === HTAB) start++
    const lineEnd = endOfFieldValue(text, start)
    if (text.charCodeAt(lineEnd) !== CR || text.charCodeAt(lineEnd + 1) !== LF)
      return malformed('a field value')
    let end = lineEnd
    while (end > start && (text.charCodeAt(end - 1) === SP || text.charCodeAt(end - 1) === HTAB)) end--
    const written = text.substring(at, nameEnd)
    const value = text.substring(start, end)
    at = lineEnd + 2
    const ordinary = ORDINARY.get(written)
    if (ordinary !== undefined) {
      headers.push(ordinary, value)
      continue
    }
    const name = written.toLowerCase()
    if (name !== 'content-length' && name !== 'host' && !CONNECTION_FIELDS.has(name)) {
      headers.push(name, value)
      continue
    }
    hasFraming = true
    switch (name) {
      case 'host':
        hosts.push(value)
        continue
      case 'content-length': {
        // SPEC RFC9112 §6.3: a list, or the field twice, may be read as the first or the last of them.
        const length = parseLength(value)
        if (length === undefined || contentLength >= 0) return ambiguous('Content-Length')
        contentLength = length
        headers.push(name, value)
        continue
      }
      case 'transfer-encoding':
        // Some readers take white space behind for a part of the coding, which is unknown then.
        if (end !== lineEnd) return refuse('HTTP_TRANSFER_CODING', 'white space behind it')
        codings = codings === '' ? `${value},` : `${codings}${value},`
        continue
      case 'connection':
        connection = connection === '' ? value : `${connection},${value}`
        continue
      case 'upgrade':
        upgrade = upgrade === '' ? value : `${upgrade}, ${value}`
        continue
      case 'te':
        te = te === '' ? value : `${te},${value}`
    }
  }
  if (at + 2 !== text.length) return malformed('an empty line')
  // SPEC RFC9112 §6.1: whoever sends both wants one of two readers to be wrong.
  if (codings !== '' && contentLength >= 0) return ambiguous('Transfer-Encoding beside Content-Length')
  if (codings !== '' && codings.toLowerCase() !== 'chunked,')
    return refuse('HTTP_TRANSFER_CODING', 'only chunked, and that once')
  const options = connection === '' ? NO_OPTIONS : parseOptions(connection)
  if (options === null) return malformed('Connection')
  if (options.size > 0) {
    for (const option of options)
      if (LASTING_FIELDS.has(option)) return ambiguous(`Connection names ${option}`)
    dropHeaders(headers, options)
  }
  return {
    kind: 'fields',
    headers,
    hosts,
    contentLength,
    isChunked: codings !== '',
    wantsClose: options.has('close'),
    wantsKeepAlive: options.has('keep-alive'),
    upgrade: options.has('upgrade') ? upgrade : '',
    hasTrailersTe: te !== '' && /(?:^|,)[ \t]*trailers[ \t]*(?:,|$)/i.test(te),
    hasFraming,
  }
}

const NO_OPTIONS: ReadonlySet<string> = new Set()

/** Options of Connection, lower case; null when it is no list of tokens. */
function parseOptions(text: string): ReadonlySet<string> | null {
  const options = new Set<string>()
  for (const part of text.toLowerCase().split(',')) {
    const option = part.replace(/^[ \t]+|[ \t]+$/g, '')
    if (option === '') continue
    if (!isToken(option)) return null
    options.add(option)
  }
  return options
}

/** SPEC RFC9110 §6.5.1: fields that frame, route or authenticate a message do not come after it. */
export const NOT_IN_TRAILERS: ReadonlySet<string> = new Set([
  ...LASTING_FIELDS,
  'content-encoding',
  'content-range',
  'content-type',
  'expect',
  'max-forwards',
  'pragma',
  'range',
  'set-cookie',
  'trailer',
])

/** Trailers; `text` ends with the empty line. */
export function parseTrailers(
  text: string,
): { readonly kind: 'trailers'; readonly headers: HeaderList } | Refusal {
  const fields = parseFields(text, 0)
  if (fields.kind === 'refusal') return fields
  for (let i = 0; i < fields.headers.length; i += 2)
    if (NOT_IN_TRAILERS.has(fields.headers[i] ?? '')) return ambiguous(`${fields.headers[i]} in trailers`)
  return fields.hasFraming ? ambiguous('framing in trailers') : { kind: 'trailers', headers: fields.headers }
}

export function malformed(what: string): Refusal {
  return refuse('HTTP1_MALFORMED', what)
}

export function ambiguous(what: string): Refusal {
  return refuse('HTTP1_AMBIGUOUS', what)
}
