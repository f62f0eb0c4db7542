// SPDX-License-Identifier: Apache-2.0
// Puts the records of connections into a worker's ring: in short where it can be, else as text.
import {
  type ConnectionEnds,
  type ConnectionRecord,
  formatConnectionRecord,
  formatPair,
} from './connection-record.ts'
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
import { ENTRY_KINDS, type EntryKind, type RecordRing } from './record-ring.ts'

/** Above, numbers are not written digit by digit. */
const MAX_MS = 1e12

/** Of one ring; its writer only. */
export class RecordEncoder {
  readonly #ring: RecordRing
  readonly #view: DataView
  /** By number: the pair that main knows by it. */
  readonly #told: (ConnectionEnds | undefined)[] = []

  constructor(ring: RecordRing) {
    const { buffer, byteOffset, length } = ring.bytes
    this.#ring = ring
    this.#view = new DataView(buffer, byteOffset, length)
  }

  /**
   * Appends a record; false when it was dropped. `pair`: a small number that connections of its pair have in common, and others
   * seldom have; -1 where there is none.
   */
  push(record: ConnectionRecord, kind: EntryKind, owner: number, pair: number): boolean {
    const isBrief = kind === ENTRY_KINDS.record && record.code === 'OK' && pair >= 0
    if (isBrief && this.#pushBrief(record, owner, pair)) return true
    return this.#ring.push(formatConnectionRecord(record), kind, owner)
  }

  /** False: nothing was written, it has something that is rare. */
  #pushBrief(record: ConnectionRecord, owner: number, pair: number): boolean {
    const { sourceAddress, bytesSent, bytesReceived, durationMs, connectMs } = record
    if (record.trace !== null || record.retryCount !== 0) return false
    if (!Number.isSafeInteger(bytesSent) || !Number.isSafeInteger(bytesReceived)) return false
    if (bytesSent < 0 || bytesReceived < 0) return false
    if (!(durationMs >= 0 && durationMs < MAX_MS && connectMs < MAX_MS)) return false
    if (!this.#tell(record, pair)) return false
    const { ip, port } = sourceAddress
    const start = this.#ring.reserve(SOURCE_IP_AT + ip.length)
    if (start < 0) return false

    const view = this.#view
    view.setUint32(start + PAIR_AT, pair, true)
    view.setFloat64(start + END_MS_AT, record.endMs, true)
    view.setFloat64(start + BYTES_SENT_AT, bytesSent, true)
    view.setFloat64(start + BYTES_RECEIVED_AT, bytesReceived, true)
    view.setFloat64(start + DURATION_MS_AT, durationMs, true)
    view.setFloat64(start + CONNECT_MS_AT, connectMs, true)
    view.setUint32(start + SOURCE_PORT_AT, port, true)
    const { bytes } = this.#ring
    let at = start + SOURCE_IP_AT
    for (let index = 0; index < ip.length; index++) bytes[at++] = ip.charCodeAt(index)
    this.#ring.commit(at - start, ENTRY_KINDS.brief, owner)
    return true
  }

  /** Main knows the record's pair by that number after it; false: it does not, there is no room for that now. */
  #tell(record: ConnectionRecord, pair: number): boolean {
    const told = this.#told[pair]
    if (told !== undefined && isSamePair(told, record)) return true
    // An address of a workload nobody knows is seldom seen twice.
    if (record.source === null || record.destination === null) return false
    if (!this.#ring.push(formatPair(record), ENTRY_KINDS.pair, pair)) return false
    this.#told[pair] = record
    return true
  }
}

function isSamePair(told: ConnectionEnds, ends: ConnectionEnds): boolean {
  // Not their texts: an address stays one object for as long as the model has it, and its text is made for each connection.
  const [own, other] = [told.destinationAddress, ends.destinationAddress]
  return (
    told.source === ends.source &&
    told.destination === ends.destination &&
    (own === other || (own?.ip === other?.ip && own?.port === other?.port)) &&
    told.direction === ends.direction &&
    told.transport === ends.transport &&
    told.hboneAddress === ends.hboneAddress &&
    told.service === ends.service &&
    told.sourceIdentity === ends.sourceIdentity &&
    told.policy === ends.policy &&
    told.via === ends.via
  )
}
