// SPDX-License-Identifier: Apache-2.0
// As much of DNS messages as the proxy reads and writes: one question in, addresses out. Whatever is not plainly that
// is none of its business and goes on byte for byte to the resolver the pod chose. SPEC RFC 1035 §4, RFC 6891.

export const TYPE_A = 1
export const TYPE_CNAME = 5
export const TYPE_AAAA = 28
export const TYPE_SRV = 33
const TYPE_OPT = 41
const CLASS_IN = 1
/** What every message begins with. */
export const HEADER_BYTES = 12
const MAX_NAME_BYTES = 255
const MAX_LABEL_BYTES = 63
/** A pointer to the question's name, which always stands behind the header. */
const QUESTION_POINTER = 0xc00c
const FLAG_RESPONSE = 0x8000
const FLAG_AUTHORITATIVE = 0x0400
const FLAG_TRUNCATED = 0x0200
const FLAG_RECURSION_DESIRED = 0x0100
const FLAG_RECURSION_AVAILABLE = 0x0080
const OPCODE_MASK = 0x7800
const RCODE_SERVFAIL = 2

/** Every UDP answer may be this long; longer ones only for who said so. */
export const MIN_PAYLOAD_BYTES = 512
/** What we send by UDP at most: fits into one packet of every network. SPEC RFC 9715. */
const MAX_PAYLOAD_BYTES = 1_232

/** A question that may be about a name of ours. */
export interface DnsQuery {
  readonly id: number
  readonly isRecursionDesired: boolean
  /** Lower case, without the last dot: `cart.shop.svc.cluster.local`. */
  readonly name: string
  readonly type: number
  /** Where the question ends; header and question are echoed as they were asked, letter case included. */
  readonly questionEnd: number
  /** What the client takes by UDP; 0: it did not say (no EDNS). */
  readonly payloadBytes: number
}

/** One record of an answer. `name` null: the name that was asked for. */
export type DnsRecord =
  | {
      readonly kind: 'A' | 'AAAA'
      readonly name: string | null
      readonly bytes: Uint8Array
      /** True: not asked for, but of use; stands behind all others, and may be left out without saying so. */
      readonly isAdditional?: boolean
    }
  | { readonly kind: 'CNAME'; readonly name: string | null; readonly target: string }
  | { readonly kind: 'SRV'; readonly name: string | null; readonly target: string; readonly port: number }

/** Reads a query from `bytes[start, end)`. Null: not one simple question; it is to be forwarded. */
export function parseQuery(bytes: Uint8Array, start: number, end: number): DnsQuery | null {
  if (end - start < HEADER_BYTES) return null
  const word = (at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
  const flags = word(start + 2)
  if ((flags & (FLAG_RESPONSE | OPCODE_MASK | FLAG_TRUNCATED)) !== 0) return null
  if (word(start + 4) !== 1 || word(start + 6) !== 0 || word(start + 8) !== 0) return null
  const name = readName(bytes, start + HEADER_BYTES, end)
  if (name === null || name.end + 4 > end || word(name.end + 2) !== CLASS_IN) return null
  const questionEnd = name.end + 4
  const payloadBytes = readPayloadSize(bytes, questionEnd, end, word(start + 10))
  if (payloadBytes < 0) return null
  return {
    id: word(start),
    isRecursionDesired: (flags & FLAG_RECURSION_DESIRED) !== 0,
    name: name.text,
    type: word(name.end),
    questionEnd,
    payloadBytes,
  }
}

/** A name of letters, digits, `-`, `_` and `*`, which no resolver writes otherwise; null for any other. */
function readName(bytes: Uint8Array, start: number, end: number): { text: string; end: number } | null {
  let text = ''
  for (let at = start; at < end && at - start < MAX_NAME_BYTES; ) {
    const length = bytes[at] ?? 0
    if (length === 0) return text === '' ? null : { text, end: at + 1 }
    if (length > MAX_LABEL_BYTES || at + 1 + length > end) return null
    if (text !== '') text += '.'
    for (let index = at + 1; index <= at + length; index++) {
      const code = bytes[index] ?? 0
      if (!isNameByte(code)) return null
      text += String.fromCharCode(code >= 65 && code <= 90 ? code + 32 : code)
    }
    at += 1 + length
  }
  return null
}

function isNameByte(code: number): boolean {
  const isLetter = (code >= 97 && code <= 122) || (code >= 65 && code <= 90)
  return isLetter || (code >= 48 && code <= 57) || code === 45 || code === 95 || code === 42
}

/** 0 without EDNS, -1 for an additional section that is not one plain OPT record. */
function readPayloadSize(bytes: Uint8Array, at: number, end: number, additional: number): number {
  if (additional === 0) return end === at ? 0 : -1
  const word = (index: number): number => ((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0)
  if (additional !== 1 || at + 11 > end || bytes[at] !== 0 || word(at + 1) !== TYPE_OPT) return -1
  // Another version of EDNS than 0 is the resolver's to refuse; DNSSEC is its to answer.
  if (bytes[at + 6] !== 0 || word(at + 7) !== 0 || at + 11 + word(at + 9) !== end) return -1
  return Math.max(MIN_PAYLOAD_BYTES, word(at + 3))
}

/** Where an answer is written: the caller's memory, used again for the next one. */
class Writer {
  readonly bytes: Uint8Array
  at: number

  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes
    this.at = at
  }

  word(value: number): void {
    this.bytes[this.at++] = value >>> 8
    this.bytes[this.at++] = value
  }

  long(value: number): void {
    this.word(value >>> 16)
    this.word(value & 0xffff)
  }

  name(name: string): void {
    for (const label of name.split('.')) {
      this.bytes[this.at++] = label.length
      for (let index = 0; index < label.length; index++) this.bytes[this.at++] = label.charCodeAt(index)
    }
    this.bytes[this.at++] = 0
  }

  /** Name, type, class, ttl; the data follows, behind two bytes for its length that are written by endData(). */
  record(name: string | null, type: number, ttlSeconds: number): number {
    if (name === null) this.word(QUESTION_POINTER)
    else this.name(name)
    this.word(type)
    this.word(CLASS_IN)
    this.long(ttlSeconds)
    this.word(0)
    return this.at
  }

  endData(start: number): void {
    const length = this.at - start
    this.bytes[start - 2] = length >>> 8
    this.bytes[start - 1] = length
  }
}

/** What Kubernetes' DNS says of the only target there is. */
const [SRV_PRIORITY, SRV_WEIGHT] = [0, 100] as const
/** Longest record: two names and what is between. */
const MAX_RECORD_BYTES = 2 * (MAX_NAME_BYTES + 1) + 20

/** An answer to `query`, which stands in `request` at `start`. */
export interface DnsReply {
  readonly query: DnsQuery
  readonly request: Uint8Array
  readonly start: number
  readonly records: readonly DnsRecord[]
  /** By UDP: what does not fit is left out and the answer says that it is truncated. */
  readonly isUdp: boolean
  readonly ttlSeconds: number
}

/** Writes it to `out` at `at`; returns where it ends. `out` has room for 64 KiB. */
export function writeReply(reply: DnsReply, out: Uint8Array, at: number): number {
  const { query, request, start, records, isUdp, ttlSeconds } = reply
  const writer = new Writer(out, at + HEADER_BYTES)
  out.set(request.subarray(start + HEADER_BYTES, query.questionEnd), writer.at)
  writer.at += query.questionEnd - start - HEADER_BYTES
  const optBytes = query.payloadBytes > 0 ? 11 : 0
  const wanted = query.payloadBytes > 0 ? Math.min(query.payloadBytes, MAX_PAYLOAD_BYTES) : MIN_PAYLOAD_BYTES
  const limit = at + (isUdp ? wanted : 65_535) - optBytes
  let count = 0
  let additionalCount = 0
  for (const record of records) {
    const before = writer.at
    // Records are written where there is surely room and taken back when they are beyond the limit.
    if (before + MAX_RECORD_BYTES > out.length) break
    writeRecord(writer, record, ttlSeconds)
    if (writer.at > limit) {
      writer.at = before
      break
    }
    if (isAdditional(record)) additionalCount++
    else count++
  }
  if (optBytes > 0) writeOpt(writer, query.payloadBytes)
  const end = writer.at
  writer.at = at
  const isTruncated = count < records.filter((record) => !isAdditional(record)).length
  writer.word(query.id)
  writer.word(
    FLAG_RESPONSE |
      FLAG_AUTHORITATIVE |
      (isTruncated ? FLAG_TRUNCATED : 0) |
      (query.isRecursionDesired ? FLAG_RECURSION_DESIRED : 0) |
      FLAG_RECURSION_AVAILABLE,
  )
  writer.word(1)
  writer.word(count)
  writer.word(0)
  writer.word(additionalCount + (optBytes > 0 ? 1 : 0))
  return end
}

function isAdditional(record: DnsRecord): boolean {
  return (record.kind === 'A' || record.kind === 'AAAA') && record.isAdditional === true
}

function writeRecord(writer: Writer, record: DnsRecord, ttlSeconds: number): void {
  const type = { A: TYPE_A, AAAA: TYPE_AAAA, CNAME: TYPE_CNAME, SRV: TYPE_SRV }[record.kind]
  const start = writer.record(record.name, type, ttlSeconds)
  if (record.kind === 'CNAME') writer.name(record.target)
  else if (record.kind === 'SRV') {
    // SPEC RFC2782: priority, weight, port, then a name that is written in full.
    writer.word(SRV_PRIORITY)
    writer.word(SRV_WEIGHT)
    writer.word(record.port)
    writer.name(record.target)
  } else {
    writer.bytes.set(record.bytes, writer.at)
    writer.at += record.bytes.length
  }
  writer.endData(start)
}

function writeOpt(writer: Writer, payloadBytes: number): void {
  writer.bytes[writer.at++] = 0
  writer.word(TYPE_OPT)
  writer.word(payloadBytes)
  writer.long(0)
  writer.word(0)
}

/** As much of a message as a failure repeats of it. */
export const MAX_FAILURE_BYTES = HEADER_BYTES + MAX_NAME_BYTES + 4

/**
 * Writes SERVFAIL for the request `bytes[start, end)`, whatever it asks, to `out` at `at`; returns where it ends: at
 * once (`at`) when the request is none that may be answered. Needs only the first MAX_FAILURE_BYTES of the request.
 */
export function writeFailure(
  bytes: Uint8Array,
  start: number,
  end: number,
  out: Uint8Array,
  at: number,
): number {
  if (end - start < HEADER_BYTES) return at
  const word = (index: number): number => ((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0)
  const flags = word(start + 2)
  // SPEC RFC1035 §4.1.1: who answers answers would keep two servers busy for ever.
  if ((flags & FLAG_RESPONSE) !== 0) return at
  const questionEnd = word(start + 4) === 0 ? -1 : endOfQuestion(bytes, start + HEADER_BYTES, end)
  const writer = new Writer(out, at)
  writer.word(word(start))
  writer.word(FLAG_RESPONSE | (flags & (OPCODE_MASK | FLAG_RECURSION_DESIRED)) | RCODE_SERVFAIL)
  writer.word(questionEnd < 0 ? 0 : 1)
  for (let count = 0; count < 3; count++) writer.word(0)
  if (questionEnd < 0) return writer.at
  out.set(bytes.subarray(start + HEADER_BYTES, questionEnd), writer.at)
  return writer.at + questionEnd - start - HEADER_BYTES
}

/** Behind a question of any name and type; -1 when there is none. */
function endOfQuestion(bytes: Uint8Array, start: number, end: number): number {
  for (let at = start; at < end && at - start < MAX_NAME_BYTES; ) {
    const length = bytes[at] ?? 0
    if (length === 0) return at + 5 <= end ? at + 5 : -1
    if (length > MAX_LABEL_BYTES) return -1
    at += 1 + length
  }
  return -1
}

/** Type of the first question, for counters; 0 when there is none. */
export function questionType(bytes: Uint8Array, start: number, end: number): number {
  const questionEnd = end - start < HEADER_BYTES ? -1 : endOfQuestion(bytes, start + HEADER_BYTES, end)
  return questionEnd < 0 ? 0 : ((bytes[questionEnd - 4] ?? 0) << 8) | (bytes[questionEnd - 3] ?? 0)
}
