// SPDX-License-Identifier: Apache-2.0
// Writes HPACK header blocks (RFC 7541). Tuned for CPU: fields that repeat on a connection (authority, baggage)
// are indexed, fields that differ each time (traceparent, forwarded) are sent as they are, and text is not
// Huffman-coded unless asked, since 100 bytes less on the wire cost more than they save inside a node.
import type { HeaderList } from '../../http/header-list.ts'
import { DynamicTable, ENTRY_OVERHEAD_BYTES } from './dynamic-table.ts'
import { encodeHuffman, huffmanBytes } from './huffman.ts'
import { findStaticField, findStaticName, STATIC_ENTRIES } from './static-table.ts'

/** Values that hardly ever come twice: indexing them would only push useful entries out. */
const UNREPEATED = new Set([
  ':path',
  'content-length',
  'date',
  'etag',
  'forwarded',
  'if-modified-since',
  'if-none-match',
  'last-modified',
  'location',
  'traceparent',
  'tracestate',
  'x-request-id',
])
// SPEC RFC7541 §7.1.3: secrets are never indexed, by no hop, so that they cannot be guessed from sizes.
const SECRET = new Set(['authorization', 'cookie', 'proxy-authorization', 'set-cookie'])

/** Below this length a loop beats the call into the runtime. */
const SHORT_TEXT = 24

/** One per connection and direction. */
export class HpackEncoder {
  readonly #ownMaxBytes: number
  readonly #isHuffman: boolean
  readonly #table: DynamicTable
  /** Table sizes to announce at the next block: the lowest since the last one, and the final; −1 = none. */
  #lowestSize = -1
  #finalSize = -1

  /** `maxTableBytes` bounds our memory whatever the peer offers. */
  constructor(maxTableBytes: number, isHuffman = false) {
    this.#ownMaxBytes = maxTableBytes
    this.#isHuffman = isHuffman
    this.#table = new DynamicTable(maxTableBytes)
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. */
  setPeerTableBytes(bytes: number): void {
    const size = Math.min(bytes, this.#ownMaxBytes)
    if (size === this.#table.maxBytes && this.#finalSize < 0) return
    this.#lowestSize = this.#lowestSize < 0 ? size : Math.min(this.#lowestSize, size)
    this.#finalSize = size
    this.#table.resize(size)
  }

  /** Room `encode` may need for these fields. */
  static maxEncodedBytes(fields: HeaderList): number {
    let bytes = 16
    for (let i = 0; i < fields.length; i++) bytes += (fields[i] ?? '').length + 8
    return bytes
  }

  /** Writes the block at `at` and returns the position after it; `target` has maxEncodedBytes of room. */
  encode(fields: HeaderList, target: Buffer, at: number): number {
    let next = at
    if (this.#finalSize >= 0) {
      if (this.#lowestSize < this.#finalSize) next = writeInteger(target, next, 0x20, 5, this.#lowestSize)
      next = writeInteger(target, next, 0x20, 5, this.#finalSize)
      this.#lowestSize = -1
      this.#finalSize = -1
    }
    for (let i = 0; i + 1 < fields.length; i += 2) {
      next = this.#encodeField(fields[i] ?? '', fields[i + 1] ?? '', target, next)
    }
    return next
  }

  #encodeField(name: string, value: string, target: Buffer, at: number): number {
    const staticName = findStaticName(name)
    if (staticName > 0) {
      const index = findStaticField(staticName, name, value)
      if (index > 0) return writeInteger(target, at, 0x80, 7, index)
    }
    const isSecret = SECRET.has(name)
    const isRepeated = !isSecret && !UNREPEATED.has(name)
    if (isRepeated) {
      const position = this.#table.find(name, value)
      if (position >= 0) return writeInteger(target, at, 0x80, 7, STATIC_ENTRIES + 1 + position)
    }
    let nameIndex = staticName
    if (nameIndex === 0) {
      const position = this.#table.findName(name)
      if (position >= 0) nameIndex = STATIC_ENTRIES + 1 + position
    }
    const bytes = name.length + value.length + ENTRY_OVERHEAD_BYTES
    // A name nobody knows yet is indexed with its first value: later values cost only their own bytes.
    const isIndexed = !isSecret && (isRepeated || nameIndex === 0) && bytes * 2 <= this.#table.maxBytes
    let next: number
    if (isIndexed) next = writeInteger(target, at, 0x40, 6, nameIndex)
    else next = writeInteger(target, at, isSecret ? 0x10 : 0, 4, nameIndex)
    if (nameIndex === 0) next = this.#writeString(target, next, name)
    if (isIndexed) this.#table.add(name, value)
    return this.#writeString(target, next, value)
  }

  #writeString(target: Buffer, at: number, text: string): number {
    if (this.#isHuffman) {
      const coded = huffmanBytes(text)
      if (coded < text.length) return encodeHuffman(text, target, writeInteger(target, at, 0x80, 7, coded))
    }
    const next = writeInteger(target, at, 0, 7, text.length)
    if (text.length > SHORT_TEXT) return next + target.write(text, next, 'latin1')
    for (let i = 0; i < text.length; i++) target[next + i] = text.charCodeAt(i)
    return next + text.length
  }
}

/** SPEC RFC7541 §5.1: an integer after the bits of `pattern`, with an N-bit prefix. */
export function writeInteger(
  target: Buffer,
  at: number,
  pattern: number,
  prefixBits: number,
  value: number,
): number {
  const mask = (1 << prefixBits) - 1
  if (value < mask) {
    target[at] = pattern | value
    return at + 1
  }
  target[at] = pattern | mask
  let next = at + 1
  let rest = value - mask
  for (; rest >= 0x80; rest >>>= 7) target[next++] = (rest & 0x7f) | 0x80
  target[next++] = rest
  return next
}
