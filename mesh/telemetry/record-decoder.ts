// SPDX-License-Identifier: Apache-2.0
// Writes the lines of records that came in short (record-brief.ts), where they stay. They say what formatConnectionRecord() says,
// which has the order of the fields.
import type { RecordBatch } from './record-batch.ts'
import {
  BYTES_RECEIVED_AT,
  BYTES_SENT_AT,
  CONNECT_MS_AT,
  DURATION_MS_AT,
  END_MS_AT,
  PAIR_AT,
  SOURCE_IP_AT,
  SOURCE_PORT_AT,
} from './record-brief.ts'
import { ENTRY_KINDS, type RecordRing } from './record-ring.ts'

const BEFORE_TIME = '{"time":"'
const AFTER_MS = 'Z","msg":"connection complete","reason":"OK","src.addr":"'
const SENT = Buffer.from(',"bytes_sent":')
const RECEIVED = Buffer.from(',"bytes_recv":')
const DURATION = Buffer.from(',"duration_ms":')
const CONNECT = Buffer.from(',"connect_ms":')
/** Of a line without its pair and its source address: the constants above, the time, and four numbers of 17 digits. */
const MOST_FIXED_BYTES = 320
const [ZERO, POINT, QUOTE, CLOSE] = [0x30, 0x2e, 0x22, 0x7d]
const [OPENING, CLOSING, COLON] = [0x5b, 0x5d, 0x3a]

/** Of one ring; its reader only. */
export class RecordDecoder {
  readonly #bytes: Buffer
  readonly #view: DataView
  /** By number: the middle of every record of the pair. */
  readonly #pairs: (Uint8Array | undefined)[] = []
  #secondMs = Number.NaN
  /** What every record of that second begins with, up to its source address. */
  #begin: Uint8Array = Buffer.alloc(0)
  /** Where in it the three digits of the milliseconds are. */
  #msAt = 0

  constructor({ bytes }: RecordRing) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  /** What a pair says, in the ring's `length` bytes from `offset`. */
  learn(number: number, offset: number, length: number): void {
    this.#pairs[number] = new Uint8Array(this.#bytes.subarray(offset, offset + length)) // a copy
  }

  /** Appends the line of the record in those bytes; false where nobody has told its pair. */
  addTo(batch: RecordBatch, offset: number, length: number, owner: number): boolean {
    const view = this.#view
    const pair = this.#pairs[view.getUint32(offset + PAIR_AT, true)]
    if (pair === undefined) return false
    let at = batch.reserve(MOST_FIXED_BYTES + length + pair.length)
    const { bytes } = batch
    at = this.#writeBegin(bytes, at, view.getFloat64(offset + END_MS_AT, true))
    at = this.#writeSource(bytes, at, offset, length)
    bytes[at++] = QUOTE
    at = put(bytes, at, pair)
    at = writeInteger(bytes, put(bytes, at, SENT), view.getFloat64(offset + BYTES_SENT_AT, true))
    at = writeInteger(bytes, put(bytes, at, RECEIVED), view.getFloat64(offset + BYTES_RECEIVED_AT, true))
    at = writeTenths(bytes, put(bytes, at, DURATION), view.getFloat64(offset + DURATION_MS_AT, true))
    const connectMs = view.getFloat64(offset + CONNECT_MS_AT, true)
    if (connectMs >= 0) at = writeTenths(bytes, put(bytes, at, CONNECT), connectMs)
    bytes[at++] = CLOSE
    batch.commit(at, ENTRY_KINDS.record, owner)
    return true
  }

  /** `ip:port`, with brackets around IPv6. */
  #writeSource(bytes: Buffer, start: number, offset: number, length: number): number {
    const ip = this.#bytes.subarray(offset + SOURCE_IP_AT, offset + length)
    const isIpv6 = ip.includes(COLON)
    let at = start
    if (isIpv6) bytes[at++] = OPENING
    at = put(bytes, at, ip)
    if (isIpv6) bytes[at++] = CLOSING
    bytes[at++] = COLON
    return writeInteger(bytes, at, this.#view.getUint32(offset + SOURCE_PORT_AT, true))
  }

  /** A worker ends many connections in one second. */
  #writeBegin(bytes: Buffer, at: number, atMs: number): number {
    const wholeMs = Math.floor(atMs)
    const ms = wholeMs % 1000
    if (wholeMs - ms !== this.#secondMs) {
      this.#secondMs = wholeMs - ms
      const second = BEFORE_TIME + new Date(this.#secondMs).toISOString().slice(0, -4)
      this.#begin = Buffer.from(`${second}000${AFTER_MS}`)
      this.#msAt = second.length
    }
    const end = put(bytes, at, this.#begin)
    const msAt = at + this.#msAt
    bytes[msAt] = ZERO + Math.floor(ms / 100)
    bytes[msAt + 1] = ZERO + (Math.floor(ms / 10) % 10)
    bytes[msAt + 2] = ZERO + (ms % 10)
    return end
  }
}

/** Copies; returns where the copy ends. */
function put(bytes: Buffer, at: number, part: Uint8Array): number {
  bytes.set(part, at)
  return at + part.length
}

/** A whole number from 0 to 2⁵³, in digits. */
function writeInteger(bytes: Buffer, at: number, value: number): number {
  let end = at + 1
  for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) end++
  for (let index = end - 1, rest = value; index >= at; index--) {
    const next = Math.floor(rest / 10)
    bytes[index] = ZERO + (rest - next * 10)
    rest = next
  }
  return end
}

/** With one decimal. */
function writeTenths(bytes: Buffer, at: number, value: number): number {
  const count = Math.round(value * 10)
  const whole = Math.floor(count / 10)
  const end = writeInteger(bytes, at, whole)
  bytes[end] = POINT
  bytes[end + 1] = ZERO + (count - whole * 10)
  return end + 2
}
