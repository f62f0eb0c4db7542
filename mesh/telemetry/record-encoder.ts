// SPDX-License-Identifier: Apache-2.0
// Puts the records of connections into a worker's ring: in short where it can be, else as text.
import {
  type ConnectionRecord,
  formatConnectionRecord,
  MAX_FIELD_LENGTH,
  type PairText,
  pairOf,
} from './connection-record.ts'
import {
  BYTES_RECEIVED_AT,
  BYTES_SENT_AT,
  CONNECT_MS_AT,
  DURATION_MS_AT,
  END_MS_AT,
  MAX_TOLD_PAIRS,
  PAIR_AT,
  SOURCE_ADDRESS_AT,
} from './record-brief.ts'
import { ENTRY_KINDS, type EntryKind, type RecordRing } from './record-ring.ts'
import { isPlainUnit } from './record-text.ts'

/** Above, numbers are not written digit by digit. */
const MAX_MS = 1e12

/** Of one ring; its writer only. */
export class RecordEncoder {
  readonly #ring: RecordRing
  readonly #view: DataView
  /** By number: what main knows. */
  readonly #told: (PairText | null)[] = new Array(MAX_TOLD_PAIRS).fill(null)
  #nextNumber = 0

  constructor(ring: RecordRing) {
    const { buffer, byteOffset, length } = ring.bytes
    this.#ring = ring
    this.#view = new DataView(buffer, byteOffset, length)
  }

  /** Appends a record; false when it was dropped. */
  push(record: ConnectionRecord, kind: EntryKind, owner: number): boolean {
    if (kind === ENTRY_KINDS.record && record.code === 'OK' && this.#pushBrief(record, owner)) return true
    return this.#ring.push(formatConnectionRecord(record), kind, owner)
  }

  /** False: nothing was written, it has something that is rare. */
  #pushBrief(record: ConnectionRecord, owner: number): boolean {
    const { sourceAddress, bytesSent, bytesReceived, durationMs, connectMs } = record
    if (record.trace !== null || record.retryCount !== 0) return false
    if (sourceAddress === '' || sourceAddress.length > MAX_FIELD_LENGTH) return false
    if (!Number.isSafeInteger(bytesSent) || !Number.isSafeInteger(bytesReceived)) return false
    if (bytesSent < 0 || bytesReceived < 0) return false
    if (!(durationMs >= 0 && durationMs < MAX_MS && connectMs < MAX_MS)) return false
    const pair = pairOf(record)
    const number = pair === null ? -1 : this.#numberOf(pair)
    if (number < 0) return false
    const start = this.#ring.reserve(SOURCE_ADDRESS_AT + sourceAddress.length)
    if (start < 0) return false

    const view = this.#view
    view.setUint32(start + PAIR_AT, number, true)
    view.setFloat64(start + END_MS_AT, record.endMs, true)
    view.setFloat64(start + BYTES_SENT_AT, bytesSent, true)
    view.setFloat64(start + BYTES_RECEIVED_AT, bytesReceived, true)
    view.setFloat64(start + DURATION_MS_AT, durationMs, true)
    view.setFloat64(start + CONNECT_MS_AT, connectMs, true)
    const { bytes } = this.#ring
    let at = start + SOURCE_ADDRESS_AT
    for (let index = 0; index < sourceAddress.length; index++) {
      const unit = sourceAddress.charCodeAt(index)
      if (!isPlainUnit(unit)) return false
      bytes[at++] = unit
    }
    this.#ring.commit(at - start, ENTRY_KINDS.brief, owner)
    return true
  }

  /** What main knows the pair as, told before this if need be; -1: there is no room for that now. */
  #numberOf(pair: PairText): number {
    if (this.#told[pair.number] === pair) return pair.number
    const start = this.#ring.reserve(pair.bytes.length)
    if (start < 0) return -1
    this.#ring.bytes.set(pair.bytes, start)
    pair.number = this.#nextNumber
    this.#ring.commit(pair.bytes.length, ENTRY_KINDS.pair, pair.number)
    this.#told[pair.number] = pair
    this.#nextNumber = (pair.number + 1) % MAX_TOLD_PAIRS
    return pair.number
  }
}
