// SPDX-License-Identifier: Apache-2.0
// Netlink's wire form: messages and type-length-value attributes, both padded to 4 bytes. Headers are in the byte
// order of the machine (little endian on everything we support); nf_tables' own numbers are big endian.
// Reading is bounded and never throws: in a pod's namespace other processes can reach our socket too.
// SPEC NETLINK (linux/netlink.h): nlmsghdr 16 bytes, nlattr 4 bytes, NLMSG_ALIGNTO and NLA_ALIGNTO are 4.
import { MeshError } from '../../errors/mesh-error.ts'
import { type Refusal, refuse } from '../../errors/refusal.ts'

export const MESSAGE_HEADER_BYTES = 16
/** Of a message, within its header. */
export const MESSAGE_SEQUENCE_AT = 8
export const ATTRIBUTE_HEADER_BYTES = 4
const NLA_F_NESTED = 0x8000
const NLA_TYPE_MASK = 0x3fff

export const NLMSG_ERROR = 2
export const NLMSG_DONE = 3
export const NLMSG_OVERRUN = 4
export const NLM_F_REQUEST = 0x1
export const NLM_F_ACK = 0x4
export const NLM_F_DUMP_INTR = 0x10
export const NLM_F_CAPPED = 0x100
export const NLM_F_ACK_TLVS = 0x200
export const NLM_F_DUMP = 0x300
export const NLM_F_REPLACE = 0x100
export const NLM_F_EXCL = 0x200
export const NLM_F_CREATE = 0x400
export const NLM_F_APPEND = 0x800

/** The kernel's default send buffer is 208 KiB: a larger request could not leave. */
export const MAX_REQUEST_BYTES = 196_608
/** Attributes of one level: the largest level we read is a rule's list of expressions, which has far fewer. */
const MAX_ATTRIBUTES = 1024
/** Messages of one datagram: a 64 KiB datagram of the smallest messages. */
const MAX_MESSAGES = 4096

const align4 = (length: number): number => (length + 3) & ~3

/** One received message. `payload` is a view on the datagram, valid as long as that buffer is. */
export interface NetlinkMessage {
  readonly type: number
  readonly flags: number
  readonly sequence: number
  readonly portId: number
  readonly payload: Buffer
}

/** Writes one or more messages into one growing buffer. begin → fixed header → attributes → end. */
export class MessageBuilder {
  #bytes = Buffer.alloc(1024)
  #length = 0
  #messageStart = -1
  readonly #nests: number[] = []

  /** What was written so far. Valid until the next write. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }

  begin(type: number, flags: number, sequence: number): this {
    if (this.#messageStart >= 0)
      throw new MeshError('INTERNAL', { detail: 'a netlink message is still open' })
    this.#messageStart = this.#length
    const at = this.#grow(MESSAGE_HEADER_BYTES)
    this.#bytes.writeUInt16LE(type, at + 4)
    this.#bytes.writeUInt16LE(flags, at + 6)
    this.#bytes.writeUInt32LE(sequence >>> 0, at + MESSAGE_SEQUENCE_AT)
    return this
  }

  end(): this {
    if (this.#messageStart < 0 || this.#nests.length > 0) {
      throw new MeshError('INTERNAL', { detail: 'a netlink message or attribute was not closed' })
    }
    this.#bytes.writeUInt32LE(this.#length - this.#messageStart, this.#messageStart)
    this.#messageStart = -1
    return this
  }

  /** The fixed header that follows nlmsghdr (ifinfomsg, rtmsg, nfgenmsg …), padded. */
  raw(bytes: Uint8Array): this {
    const at = this.#grow(align4(bytes.length)) // first: it may be another buffer then
    this.#bytes.set(bytes, at)
    return this
  }

  attribute(type: number, value: Uint8Array): this {
    const at = this.#grow(ATTRIBUTE_HEADER_BYTES + align4(value.length))
    this.#bytes.writeUInt16LE(ATTRIBUTE_HEADER_BYTES + value.length, at)
    this.#bytes.writeUInt16LE(type, at + 2)
    this.#bytes.set(value, at + ATTRIBUTE_HEADER_BYTES)
    return this
  }

  u8(type: number, value: number): this {
    return this.attribute(type, Uint8Array.of(value))
  }
  u32(type: number, value: number): this {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(value >>> 0)
    return this.attribute(type, bytes)
  }
  /** nf_tables' numbers. */
  u32be(type: number, value: number): this {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32BE(value >>> 0)
    return this.attribute(type, bytes)
  }
  /** Up to 2^53. */
  u64be(type: number, value: number): this {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64BE(BigInt(value))
    return this.attribute(type, bytes)
  }
  /** Text with its terminating NUL. @throws NETLINK when the text holds a NUL: the kernel would read a shorter name. */
  text(type: number, value: string): this {
    if (value.includes('\0')) throw new MeshError('NETLINK', { detail: 'a name contains NUL' })
    return this.attribute(type, Buffer.from(`${value}\0`))
  }

  /** Writes an attribute whose value is what `write` writes. */
  nest(type: number, write: (builder: this) => void): this {
    const at = this.#grow(ATTRIBUTE_HEADER_BYTES)
    this.#bytes.writeUInt16LE(type | NLA_F_NESTED, at + 2)
    this.#nests.push(at)
    write(this)
    this.#nests.pop()
    const length = this.#length - at
    if (length > 0xffff) throw new MeshError('NETLINK', { detail: 'a nested attribute exceeds 64 KiB' })
    this.#bytes.writeUInt16LE(length, at)
    return this
  }

  #grow(bytes: number): number {
    const at = this.#length
    const needed = at + bytes
    if (needed > MAX_REQUEST_BYTES) {
      throw new MeshError('NETLINK', { detail: `the request exceeds ${MAX_REQUEST_BYTES} bytes` })
    }
    if (needed > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(needed, this.#bytes.length * 2))
      larger.set(this.#bytes.subarray(0, at))
      this.#bytes = larger
    }
    this.#length = needed
    return at
  }
}

/** Splits a datagram into messages. A length that lies refuses the whole datagram. */
export function parseMessages(datagram: Buffer): readonly NetlinkMessage[] | Refusal {
  const messages: NetlinkMessage[] = []
  let at = 0
  while (at < datagram.length) {
    if (datagram.length - at < MESSAGE_HEADER_BYTES) return refuse('NETLINK', 'truncated message header')
    if (messages.length === MAX_MESSAGES) return refuse('NETLINK', 'too many messages in a datagram')
    const length = datagram.readUInt32LE(at)
    if (length < MESSAGE_HEADER_BYTES || length > datagram.length - at) {
      return refuse('NETLINK', `message length ${length} in ${datagram.length - at} bytes`)
    }
    messages.push({
      type: datagram.readUInt16LE(at + 4),
      flags: datagram.readUInt16LE(at + 6),
      sequence: datagram.readUInt32LE(at + 8),
      portId: datagram.readUInt32LE(at + 12),
      payload: datagram.subarray(at + MESSAGE_HEADER_BYTES, at + length),
    })
    at += align4(length)
  }
  return messages
}

const EMPTY = Buffer.alloc(0)

/** The attributes of one level. Getters answer undefined for what is missing or too short. */
export class Attributes {
  readonly #types: readonly number[]
  readonly #values: readonly Buffer[]

  constructor(types: readonly number[], values: readonly Buffer[]) {
    this.#types = types
    this.#values = values
  }

  get(type: number): Buffer | undefined {
    const index = this.#types.indexOf(type)
    return index < 0 ? undefined : this.#values[index]
  }
  /** Every value of a type, in order: lists repeat one type. */
  all(type: number): readonly Buffer[] {
    return this.#values.filter((_, index) => this.#types[index] === type)
  }
  u32(type: number): number | undefined {
    const value = this.get(type)
    return value === undefined || value.length < 4 ? undefined : value.readUInt32LE(0)
  }
  u32be(type: number): number | undefined {
    const value = this.get(type)
    return value === undefined || value.length < 4 ? undefined : value.readUInt32BE(0)
  }
  /** Counters and handles. Exact up to 2^53. */
  u64be(type: number): number | undefined {
    const value = this.get(type)
    return value === undefined || value.length < 8
      ? undefined
      : value.readUInt32BE(0) * 2 ** 32 + value.readUInt32BE(4)
  }
  /** Text up to its NUL. */
  text(type: number): string | undefined {
    const value = this.get(type)
    if (value === undefined) return undefined
    const end = value.indexOf(0)
    return value.toString('utf8', 0, end < 0 ? value.length : end)
  }
  /** The level below; empty when the attribute is missing. */
  nested(type: number): Attributes | Refusal {
    return parseAttributes(this.get(type) ?? EMPTY)
  }
}

/**
 * Where the value of the first attribute of `type` begins within `[start, end)` of `bytes`; -1 when there is none of at least
 * `minBytes`. For look-ups that are made often: nothing is allocated.
 */
export function findAttribute(
  bytes: Buffer,
  start: number,
  end: number,
  type: number,
  minBytes: number,
): number {
  for (let at = start; end - at >= ATTRIBUTE_HEADER_BYTES; ) {
    const length = bytes.readUInt16LE(at)
    if (length < ATTRIBUTE_HEADER_BYTES || length > end - at) return -1
    if ((bytes.readUInt16LE(at + 2) & NLA_TYPE_MASK) === type)
      return length - ATTRIBUTE_HEADER_BYTES < minBytes ? -1 : at + ATTRIBUTE_HEADER_BYTES
    at += align4(length)
  }
  return -1
}

/** Where the value ends that begins at `at`, as findAttribute() found it. */
export function attributeEnd(bytes: Buffer, at: number): number {
  return at - ATTRIBUTE_HEADER_BYTES + bytes.readUInt16LE(at - ATTRIBUTE_HEADER_BYTES)
}

/** Reads the attributes of `bytes` from `offset` on (after a fixed header). */
export function parseAttributes(bytes: Buffer, offset = 0): Attributes | Refusal {
  const types: number[] = []
  const values: Buffer[] = []
  if (offset > bytes.length) return refuse('NETLINK', 'truncated message body')
  let at = offset
  while (bytes.length - at >= ATTRIBUTE_HEADER_BYTES) {
    if (types.length === MAX_ATTRIBUTES) return refuse('NETLINK', 'too many attributes')
    const length = bytes.readUInt16LE(at)
    if (length < ATTRIBUTE_HEADER_BYTES || length > bytes.length - at) {
      return refuse('NETLINK', `attribute length ${length} in ${bytes.length - at} bytes`)
    }
    types.push(bytes.readUInt16LE(at + 2) & NLA_TYPE_MASK)
    values.push(bytes.subarray(at + ATTRIBUTE_HEADER_BYTES, at + length))
    at += align4(length)
  }
  // Padding after the last attribute is at most 3 bytes and may be missing.
  return new Attributes(types, values)
}
