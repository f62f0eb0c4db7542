// SPDX-License-Identifier: Apache-2.0
// Puts the records of connections into a worker's ring. Nearly all are of connections between two known workloads that went well:
// their bytes are written where they stay, without a text in between. The others are formatted, and both say the same.
import {
  type ConnectionRecord,
  formatConnectionRecord,
  MAX_FIELD_LENGTH,
  pairBytes,
} from './connection-record.ts'
import type { EntryKind, RecordRing } from './record-ring.ts'
import { isPlainUnit } from './record-text.ts'

const BEFORE_TIME = '{"time":"'
const AFTER_MS = 'Z","msg":"connection complete","reason":"OK","src.addr":"'
const SENT = Buffer.from(',"bytes_sent":')
const RECEIVED = Buffer.from(',"bytes_recv":')
const DURATION = Buffer.from(',"duration_ms":')
const CONNECT = Buffer.from(',"connect_ms":')
/** Of a record without its pair and its source address: the constants above, the time, and four numbers of 17 digits. */
const MOST_FIXED_BYTES = 320
/** Above, numbers are not written digit by digit. */
const MAX_MS = 1e12
const [ZERO, POINT, QUOTE, CLOSE] = [0x30, 0x2e, 0x22, 0x7d]

/** Of one ring; its writer only. */
export class RecordEncoder {
  readonly #ring: RecordRing
  #secondMs = Number.NaN
  /** What every record of that second begins with, up to its source address. */
  #begin: Uint8Array = Buffer.alloc(0)
  /** Where in it the three digits of the milliseconds are. */
  #msAt = 0

  constructor(ring: RecordRing) {
    this.#ring = ring
  }

  /** Appends a record; false when it was dropped. */
  push(record: ConnectionRecord, kind: EntryKind, owner: number): boolean {
    if (record.code === 'OK' && this.#write(record, kind, owner)) return true
    return this.#ring.push(formatConnectionRecord(record), kind, owner)
  }

  /** False: nothing was written, it has something that is rare. */
  #write(record: ConnectionRecord, kind: EntryKind, owner: number): boolean {
    const { sourceAddress, bytesSent, bytesReceived, durationMs, connectMs } = record
    if (record.trace !== null || record.retryCount !== 0) return false
    if (sourceAddress === '' || sourceAddress.length > MAX_FIELD_LENGTH) return false
    if (!Number.isSafeInteger(bytesSent) || !Number.isSafeInteger(bytesReceived)) return false
    if (bytesSent < 0 || bytesReceived < 0) return false
    if (!(durationMs >= 0 && durationMs < MAX_MS && connectMs < MAX_MS)) return false
    const pair = pairBytes(record)
    if (pair === null) return false
    const { bytes } = this.#ring
    const start = this.#ring.reserve(MOST_FIXED_BYTES + sourceAddress.length + pair.length)
    if (start < 0) return false

    let at = this.#writeBegin(bytes, start, record.endMs)
    for (let index = 0; index < sourceAddress.length; index++) {
      const unit = sourceAddress.charCodeAt(index)
      if (!isPlainUnit(unit)) return false
      bytes[at++] = unit
    }
    bytes[at++] = QUOTE
    at = put(bytes, at, pair)
    at = writeInteger(bytes, put(bytes, at, SENT), bytesSent)
    at = writeInteger(bytes, put(bytes, at, RECEIVED), bytesReceived)
    at = writeTenths(bytes, put(bytes, at, DURATION), durationMs)
    if (connectMs >= 0) at = writeTenths(bytes, put(bytes, at, CONNECT), connectMs)
    bytes[at++] = CLOSE
    this.#ring.commit(at - start, kind, owner)
    return true
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
