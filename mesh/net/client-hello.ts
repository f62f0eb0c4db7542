// SPDX-License-Identifier: Apache-2.0
// The server name that a TLS client asks for, from its first bytes. Input is hostile: pure, bounded, never throws. Nothing is
// guessed: what a server might read otherwise is malformed. SPEC RFC8446 §4.1.2, §5.1; RFC6066 §3.

/** Bytes of a ClientHello with its record headers: several times one with keys that resist quantum computers. */
export const MAX_CLIENT_HELLO_BYTES = 32_768
/** Records that a ClientHello may come in: nobody honest cuts it so small. */
export const MAX_CLIENT_HELLO_RECORDS = 64

const RECORD_HEADER_BYTES = 5
const HANDSHAKE_RECORD = 22
const MAX_RECORD_BYTES = 16_384
const CLIENT_HELLO = 1
const SERVER_NAME = 0
const HOST_NAME = 0
/** Labels of letters, digits, `-` and `_`; no dot at the end. */
const NAME = /^(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/

/**
 * `hello`: all of it was there; `name` is lower case, '' when it asks for none. `more`: it is incomplete, `bytes` are needed in
 * all. `other`: no TLS. `malformed`: TLS, and not as it is specified.
 */
export type ReadHello =
  | { readonly kind: 'hello'; readonly name: string }
  | { readonly kind: 'more'; readonly bytes: number }
  | { readonly kind: 'other' }
  | { readonly kind: 'malformed'; readonly detail: string }

const OTHER: ReadHello = { kind: 'other' }
const malformed = (detail: string): ReadHello => ({ kind: 'malformed', detail })

/** Reads the first bytes of a connection. */
export function readClientHello(bytes: Buffer): ReadHello {
  // Enough to tell TLS from what anything else begins with.
  if (bytes.length > 0 && bytes[0] !== HANDSHAKE_RECORD) return OTHER
  if (bytes.length > 1 && bytes[1] !== 3) return OTHER
  const parts: Buffer[] = []
  let length = 0
  let at = 0
  for (let records = 0; ; records++) {
    if (records === MAX_CLIENT_HELLO_RECORDS) return malformed('too many records')
    if (bytes.length < at + RECORD_HEADER_BYTES) return { kind: 'more', bytes: at + RECORD_HEADER_BYTES }
    if (bytes[at] !== HANDSHAKE_RECORD || bytes[at + 1] !== 3) return malformed('another record in between')
    const size = bytes.readUInt16BE(at + 3)
    // SPEC RFC8446 §5.1: handshake records are not empty.
    if (size === 0 || size > MAX_RECORD_BYTES) return malformed(`a record of ${size} bytes`)
    const end = at + RECORD_HEADER_BYTES + size
    if (end > MAX_CLIENT_HELLO_BYTES) return malformed('too long')
    if (bytes.length < end) return { kind: 'more', bytes: end }
    parts.push(bytes.subarray(at + RECORD_HEADER_BYTES, end))
    length += size
    at = end
    if (length < 4) continue
    const message = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts)
    if (message[0] !== CLIENT_HELLO) return malformed('no ClientHello')
    const whole = 4 + message.readUIntBE(1, 3)
    if (whole > MAX_CLIENT_HELLO_BYTES) return malformed('too long')
    if (length > whole) return malformed('bytes after the ClientHello')
    if (length === whole) return readMessage(message.subarray(4))
  }
}

/** Reads fields one after the other; −1 once there is not enough. */
class Fields {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }
  get left(): number {
    return this.#bytes.length - this.#at
  }
  number(size: 1 | 2): number {
    if (this.left < size) return -1
    const value = this.#bytes.readUIntBE(this.#at, size)
    this.#at += size
    return value
  }
  take(length: number): Buffer | null {
    if (length < 0 || this.left < length) return null
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }
  /** What stands behind its own length. */
  vector(size: 1 | 2): Buffer | null {
    return this.take(this.number(size))
  }
}

function readMessage(message: Buffer): ReadHello {
  const fields = new Fields(message)
  const fixed = fields.take(2 + 32) // version and random
  const session = fields.vector(1)
  const suites = fields.vector(2)
  const compressions = fields.vector(1)
  if (fixed === null || session === null || suites === null || compressions === null)
    return malformed('cut short')
  if (session.length > 32) return malformed('a long session id')
  if (suites.length < 2 || suites.length % 2 !== 0) return malformed('cipher suites')
  if (compressions.length === 0) return malformed('compression methods')
  if (fields.left === 0) return { kind: 'hello', name: '' } // before TLS 1.2 there were none
  const extensions = fields.vector(2)
  if (extensions === null || fields.left > 0) return malformed('the length of the extensions')
  return readExtensions(new Fields(extensions))
}

function readExtensions(fields: Fields): ReadHello {
  let name: string | null = null
  while (fields.left > 0) {
    const type = fields.number(2)
    const data = fields.vector(2)
    if (data === null) return malformed('an extension cut short')
    if (type !== SERVER_NAME) continue
    // SPEC RFC8446 §4.2: no extension twice.
    if (name !== null) return malformed('server names twice')
    name = readNames(data)
    if (name === null) return malformed('the server name')
  }
  return { kind: 'hello', name: name ?? '' }
}

/** SPEC RFC6066 §3: a list of one name; null: it is not. */
function readNames(data: Buffer): string | null {
  const fields = new Fields(data)
  const list = fields.vector(2)
  if (list === null || fields.left > 0) return null
  const entries = new Fields(list)
  if (entries.number(1) !== HOST_NAME) return null
  const name = entries.vector(2)?.toString('latin1').toLowerCase()
  return name === undefined || entries.left > 0 || !NAME.test(name) ? null : name
}
