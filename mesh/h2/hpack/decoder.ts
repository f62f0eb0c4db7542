// SPDX-License-Identifier: Apache-2.0
// Reads HPACK header blocks (RFC 7541). Input is hostile: cost and memory are bounded by the block's length and
// the list limits, indexes and integers are checked, nothing throws. An error here is fatal to the connection,
// because both dynamic tables are out of step from then on.
import { type Refusal, refuse } from '../../errors/refusal.ts'
import type { HeaderList } from '../../http/header-list.ts'
import { DynamicTable } from './dynamic-table.ts'
import { decodeHuffman, maxDecodedBytes } from './huffman.ts'
import { STATIC_ENTRIES, STATIC_NAMES, STATIC_VALUES } from './static-table.ts'

/** A decoded block. When the list broke a limit, `fields` holds what came before and `isTooLarge` says so. */
export interface DecodedBlock {
  readonly kind: 'block'
  readonly fields: HeaderList
  readonly isTooLarge: boolean
}

/** Bounds of a decoder. */
export interface DecoderLimits {
  /** Size of the dynamic table we announced. */
  readonly tableBytes: number
  /** Sum of name + value + 32 over all fields (RFC 9113 §6.5.2). */
  readonly listBytes: number
  readonly fields: number
}

/** SPEC RFC7541 §4.2: the table size changes at most to its lowest and then to its final value. */
const MAX_SIZE_UPDATES = 2
/** Integers above are of no use and could overflow: no index, size or length we accept comes near it. */
const MAX_INTEGER = 0xfff_ffff

// One scratch per isolate: a decoded string is copied out of it at once. It grows to the longest Huffman string
// of an accepted header block and no further.
let scratch = Buffer.allocUnsafeSlow(4_096)

/** One per connection and direction. */
export class HpackDecoder {
  readonly #limits: DecoderLimits
  readonly #table: DynamicTable
  // Cursor of the running decode; kept in fields so that helpers need not return pairs.
  #bytes: Buffer = scratch
  #at = 0
  #end = 0
  #text = ''

  constructor(limits: DecoderLimits) {
    this.#limits = limits
    this.#table = new DynamicTable(limits.tableBytes)
  }

  /** Decodes the complete header block `[start, end)`. */
  decode(bytes: Buffer, start: number, end: number): DecodedBlock | Refusal {
    this.#bytes = bytes
    this.#at = start
    this.#end = end
    const result = this.#decodeFields()
    this.#bytes = scratch // the block's memory belongs to somebody else
    return result
  }

  #decodeFields(): DecodedBlock | Refusal {
    const fields: string[] = []
    let listBytes = 0
    let isTooLarge = false
    let updates = 0
    while (this.#at < this.#end) {
      const first = this.#bytes[this.#at] ?? 0
      if ((first & 0xe0) === 0x20) {
        // SPEC RFC7541 §4.2: a change of table size stands at the beginning of a block.
        if (fields.length > 0 || isTooLarge || ++updates > MAX_SIZE_UPDATES)
          return bad('late table size update')
        const size = this.#readInteger(5)
        if (size < 0 || size > this.#limits.tableBytes) return bad('table size')
        this.#table.resize(size)
        continue
      }
      const index = first & 0x80 ? this.#readInteger(7) : this.#readInteger(first & 0x40 ? 6 : 4)
      if (index < 0 || index > STATIC_ENTRIES + this.#table.length) return bad('index')
      if (index === 0 && first & 0x80) return bad('index 0')
      if (index === 0 && !this.#readString()) return bad('name')
      const name = index === 0 ? this.#text : this.#nameAt(index)
      let value: string
      if (first & 0x80) value = this.#valueAt(index)
      else {
        if (!this.#readString()) return bad('value')
        value = this.#text
        if (first & 0x40) this.#table.add(name, value)
      }
      listBytes += name.length + value.length + 32
      // Over the limit decoding goes on, to keep the tables in step, but nothing more is kept.
      if (listBytes > this.#limits.listBytes || fields.length >= this.#limits.fields * 2) isTooLarge = true
      if (!isTooLarge) fields.push(name, value)
    }
    return { kind: 'block', fields, isTooLarge }
  }

  #nameAt(index: number): string {
    if (index <= STATIC_ENTRIES) return STATIC_NAMES[index] ?? ''
    return this.#table.name(index - STATIC_ENTRIES - 1)
  }

  #valueAt(index: number): string {
    if (index <= STATIC_ENTRIES) return STATIC_VALUES[index] ?? ''
    return this.#table.value(index - STATIC_ENTRIES - 1)
  }

  /** SPEC RFC7541 §5.1: an integer with an N-bit prefix. Returns −1 when it is cut short or too large. */
  #readInteger(prefixBits: number): number {
    const mask = (1 << prefixBits) - 1
    const prefix = (this.#bytes[this.#at++] ?? 0) & mask
    if (prefix < mask) return prefix
    let value = mask
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.#at >= this.#end) return -1
      const byte = this.#bytes[this.#at++] ?? 0
      value += (byte & 0x7f) << shift
      if (value > MAX_INTEGER) return -1
      if ((byte & 0x80) === 0) return value
    }
    return -1 // more than four bytes, even if they are zeros: nobody honest sends it
  }

  /** SPEC RFC7541 §5.2: a string, raw or Huffman-coded, into #text. */
  #readString(): boolean {
    if (this.#at >= this.#end) return false
    const isHuffman = ((this.#bytes[this.#at] ?? 0) & 0x80) !== 0
    const length = this.#readInteger(7)
    const end = this.#at + length
    if (length < 0 || end > this.#end) return false
    if (isHuffman) {
      const needed = maxDecodedBytes(length)
      if (needed > scratch.length) scratch = Buffer.allocUnsafeSlow(needed)
      const written = decodeHuffman(this.#bytes, this.#at, end, scratch)
      if (written < 0) return false
      this.#text = scratch.toString('latin1', 0, written)
    } else this.#text = this.#bytes.toString('latin1', this.#at, end)
    this.#at = end
    return true
  }
}

function bad(detail: string): Refusal {
  return refuse('H2_COMPRESSION', detail)
}
