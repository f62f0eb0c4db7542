// SPDX-License-Identifier: Apache-2.0
// Writes heads of messages as HTTP/1.1 has them, from the form HTTP/2 gives. A list may come from a peer that speaks HTTP/2, so
// nothing is written here that could end a line, a head or a message early. Pure; nothing throws. SPEC RFC9112 §2–§6.
import { type Refusal, refuse } from '../errors/refusal.ts'
import { dropHeaders, type HeaderList, pseudoHeader } from '../http/header-list.ts'
import { CR, endOfFieldValue, endOfTarget, isAuthority, isToken, LF, parseLength } from '../http/syntax.ts'
import { CONNECTION_FIELDS, malformed, NOT_IN_TRAILERS } from './head.ts'

/** How what follows a head ends. `raw`: no message, bytes until the end. */
export type Framing = 'none' | 'length' | 'chunked' | 'until-close' | 'raw'

/** A head ready to be sent. */
export interface HeadText {
  readonly kind: 'head-text'
  /** From the first line to the empty one; one byte per character. */
  readonly text: string
  readonly framing: Framing
  /** Of `length`. */
  readonly contentLength: number
  readonly isKeptAlive: boolean
  /** The message asks for bytes of no message after it (Upgrade, CONNECT), or grants them. */
  readonly isTunnel: boolean
}

/** What an answer has to know of its request. */
export interface Asked {
  readonly method: string
  /** HTTP/1.0. */
  readonly isOld: boolean
  readonly isKeptAlive: boolean
}

interface FieldsText {
  readonly kind: 'fields-text'
  text: string
  contentLength: number
  upgrade: string
  hasTrailersTe: boolean
}

const PHRASES: Readonly<Record<string, string>> = {
  100: 'Continue',
  101: 'Switching Protocols',
  103: 'Early Hints',
  200: 'OK',
  201: 'Created',
  202: 'Accepted',
  204: 'No Content',
  206: 'Partial Content',
  301: 'Moved Permanently',
  302: 'Found',
  303: 'See Other',
  304: 'Not Modified',
  307: 'Temporary Redirect',
  308: 'Permanent Redirect',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  409: 'Conflict',
  413: 'Content Too Large',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported',
}

/** The head of a request. `isEnd`: it has no body. Refused: what HTTP/1.1 cannot say. */
export function requestHeadText(headers: HeaderList, isEnd: boolean): HeadText | Refusal {
  const method = pseudoHeader(headers, ':method')
  const authority = pseudoHeader(headers, ':authority')
  const isConnect = method === 'CONNECT'
  const target = isConnect ? authority : pseudoHeader(headers, ':path')
  if (!isToken(method)) return malformed('the method')
  if (endOfTarget(target, 0) !== target.length || target === '') return malformed('the request target')
  if (authority !== '' && !isAuthority(authority)) return refuse('HTTP1_HOST', 'no host is named so')
  const fields = fieldsText(headers, authority !== '')
  if (fields.kind === 'refusal') return fields
  const { contentLength } = fields
  const isTunnel = isConnect || fields.upgrade !== ''
  if (isEnd && contentLength > 0) return refuse('HTTP_BODY_LENGTH', `0 of ${contentLength} bytes`)
  if (isTunnel && contentLength > 0) return malformed('a body before the protocol changes')
  let framing: Framing = 'none'
  // SPEC RFC9112 §3.2: Host comes first, and is there even when it is empty.
  let text = `${method} ${target} HTTP/1.1\r\nhost: ${authority}\r\n${fields.text}`
  if (contentLength >= 0 && !isTunnel) {
    text += `content-length: ${contentLength}\r\n`
    if (contentLength > 0) framing = 'length'
  } else if (!isEnd && !isTunnel) {
    text += 'transfer-encoding: chunked\r\n'
    framing = 'chunked'
  } else if (isEnd && (method === 'POST' || method === 'PUT' || method === 'PATCH')) {
    // SPEC RFC9110 §8.6: methods that mean a body say that there is none.
    text += 'content-length: 0\r\n'
  }
  if (fields.hasTrailersTe) text += 'te: trailers\r\n'
  text += connectionText(fields, fields.hasTrailersTe ? 'te' : '')
  return { kind: 'head-text', text: `${text}\r\n`, framing, contentLength, isKeptAlive: true, isTunnel }
}

/** The head of an answer, final or interim. `isEnd`: it has no body. */
export function answerHeadText(headers: HeaderList, isEnd: boolean, asked: Asked): HeadText | Refusal {
  const status = pseudoHeader(headers, ':status')
  if (!/^[1-9]\d\d$/.test(status)) return malformed('the status')
  const fields = fieldsText(headers, false)
  if (fields.kind === 'refusal') return fields
  const { contentLength } = fields
  const first = `HTTP/1.1 ${status} ${PHRASES[status] ?? ''}\r\n${fields.text}`
  const head = (more: string, framing: Framing, isKeptAlive = asked.isKeptAlive): HeadText => ({
    kind: 'head-text',
    text: `${first}${more}\r\n`,
    framing,
    contentLength,
    isKeptAlive,
    isTunnel: framing === 'raw',
  })
  if (status === '101') return head(connectionText(fields, ''), 'raw', false)
  // SPEC RFC9110 §8.6, RFC9112 §6.1: neither length nor coding with 1xx, 204 and a CONNECT that was granted.
  if (status < '200') return head('', 'none')
  if (asked.method === 'CONNECT' && status < '300') return head('', 'raw', false)
  const bodiless = asked.method === 'HEAD' || status === '204' || status === '304'
  if (!bodiless && isEnd && contentLength > 0)
    return refuse('HTTP_BODY_LENGTH', `0 of ${contentLength} bytes`)
  const hasLength = contentLength >= 0 && status !== '204'
  const isUntilClose = !bodiless && !isEnd && !hasLength && asked.isOld
  const isKeptAlive = asked.isKeptAlive && !isUntilClose
  let more = ''
  if (!isKeptAlive) more = 'connection: close\r\n'
  else if (asked.isOld) more = 'connection: keep-alive\r\n'
  if (hasLength) more += `content-length: ${contentLength}\r\n`
  if (bodiless) return head(more, 'none')
  if (hasLength) return head(more, contentLength > 0 ? 'length' : 'none', isKeptAlive)
  if (isEnd) return head(`${more}content-length: 0\r\n`, 'none', isKeptAlive)
  if (isUntilClose) return head(more, 'until-close', false)
  return head(`${more}transfer-encoding: chunked\r\n`, 'chunked', isKeptAlive)
}

/** Trailers, with the empty line that ends the message. HTTP/2 lets fields pass that must not stand here: they are left out. */
export function trailersText(headers: HeaderList): string | Refusal {
  const allowed = [...headers]
  dropHeaders(allowed, NOT_IN_TRAILERS)
  const fields = fieldsText(allowed, true)
  return fields.kind === 'refusal' ? fields : `${fields.text}\r\n`
}

function connectionText({ upgrade }: FieldsText, others: string): string {
  if (upgrade === '') return others === '' ? '' : `connection: ${others}\r\n`
  return `connection: ${others === '' ? '' : `${others}, `}upgrade\r\nupgrade: ${upgrade}\r\n`
}

/** Every field as a line but those of the connection, those that frame, and Host where `withoutHost`. */
function fieldsText(headers: HeaderList, withoutHost: boolean): FieldsText | Refusal {
  const fields: FieldsText = {
    kind: 'fields-text',
    text: '',
    contentLength: -1,
    upgrade: '',
    hasTrailersTe: false,
  }
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] ?? ''
    if (name.charCodeAt(0) === 0x3a) continue
    const value = headers[i + 1] ?? ''
    const end = endOfFieldValue(value, 0)
    if (end !== value.length) return unwritable(value.charCodeAt(end))
    if (name === 'content-length') {
      const length = parseLength(value)
      if (length === undefined || fields.contentLength >= 0)
        return refuse('HTTP_BODY_LENGTH', 'content-length')
      fields.contentLength = length
    } else if (name === 'upgrade') fields.upgrade = value
    else if (name === 'te') fields.hasTrailersTe = value === 'trailers'
    else if (!isToken(name)) return refuse('INTERNAL', 'a field name that is none')
    else if (!CONNECTION_FIELDS.has(name) && !(withoutHost && name === 'host'))
      fields.text += `${name}: ${value}\r\n`
  }
  return fields
}

/** Whoever let the end of a line through to here has a defect; other control characters pass in HTTP/2, and not here. */
function unwritable(char: number): Refusal {
  const isDefect = char === CR || char === LF || char === 0 || char > 0xff
  return isDefect
    ? refuse('INTERNAL', 'a field that ends its line')
    : malformed('a control character in a field')
}
