// SPDX-License-Identifier: Apache-2.0
// struct sockaddr_in/in6/un to and from text. Addresses are canonical text (mesh/net/address): IPv4 dotted, IPv6
// without brackets, v4-mapped ones as IPv4.
import { type Block, HEADROOM_BYTES } from './byte-stream.ts'
import { AF_INET, AF_INET6 } from './ffi/constants.ts'
import { allocateBlock } from './ffi/native.ts'

/** An IP and port as sockets know them. */
export interface SocketAddress {
  readonly ip: string
  readonly port: number
}

/** sizeof(struct sockaddr_in6), the larger of the two. */
export const SOCKADDR_BYTES = 28
const scratch: Block = allocateBlock(HEADROOM_BYTES + SOCKADDR_BYTES)

/** True for text that can only be IPv6. */
export function isIpv6(ip: string): boolean {
  return ip.includes(':')
}

function writeIpv6(bytes: Buffer, offset: number, ip: string): void {
  const [head = '', tail] = ip.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  bytes.fill(0, offset, offset + 16)
  left.forEach((group, i) => {
    bytes.writeUInt16BE(Number.parseInt(group, 16), offset + i * 2)
  })
  right.forEach((group, i) => {
    bytes.writeUInt16BE(Number.parseInt(group, 16), offset + (8 - right.length + i) * 2)
  })
}

/** A sockaddr in the thread's scratch memory. */
export interface EncodedAddress {
  readonly address: number
  readonly bytes: number
  /** Copies `[start, end)` of the sockaddr, all of it unless told otherwise. */
  copyTo(target: Buffer, at: number, start?: number, end?: number): void
}
const copyTo = (target: Buffer, at: number, start = 0, end = SOCKADDR_BYTES): void => {
  scratch.bytes.copy(target, at, start, end)
}
// One object per length and thread: connecting and sending allocate nothing for an address.
const ENCODED_IPV4: EncodedAddress = { address: scratch.address, bytes: 16, copyTo }
const ENCODED_IPV6: EncodedAddress = { address: scratch.address, bytes: SOCKADDR_BYTES, copyTo }

/**
 * Fills a sockaddr into the thread's scratch memory and returns where it lies; valid until the next call.
 * `asIpv6` writes an IPv4 address in its v4-mapped form, for dual-stack sockets. `ip` must be valid.
 */
export function encodeSocketAddress(ip: string, port: number, asIpv6 = false): EncodedAddress {
  const bytes = scratch.bytes
  bytes.writeUInt16BE(port, 2)
  if (!isIpv6(ip) && !asIpv6) {
    bytes.writeUInt16LE(AF_INET, 0)
    writeIpv4(bytes, 4, ip)
    bytes.fill(0, 8, 16)
    return ENCODED_IPV4
  }
  bytes.writeUInt16LE(AF_INET6, 0)
  bytes.writeUInt32LE(0, 4)
  if (isIpv6(ip)) writeIpv6(bytes, 8, ip)
  else {
    bytes.fill(0, 8, 18)
    bytes.writeUInt16BE(0xffff, 18)
    writeIpv4(bytes, 20, ip)
  }
  bytes.writeUInt32LE(0, 24)
  return ENCODED_IPV6
}

function writeIpv4(bytes: Buffer, offset: number, ip: string): void {
  let value = 0
  for (let i = 0; i < ip.length; i++) {
    const code = ip.charCodeAt(i)
    if (code === 46) {
      bytes[offset++] = value
      value = 0
    } else value = value * 10 + code - 48
  }
  bytes[offset] = value
}

/** Reads a sockaddr that the kernel wrote; null for families other than IPv4 and IPv6. */
export function decodeSocketAddress(bytes: Buffer, offset = 0): SocketAddress | null {
  const family = bytes.readUInt16LE(offset)
  const port = bytes.readUInt16BE(offset + 2)
  if (family === AF_INET) return { ip: ipv4TextAt(bytes, offset + 4), port }
  if (family !== AF_INET6) return null
  return { ip: ipv6TextAt(bytes, offset + 8), port }
}

/** Text of 16 address bytes; IPv4 for a v4-mapped one. */
export function ipv6TextAt(bytes: Buffer, offset: number): string {
  const isMapped =
    bytes.readUInt32LE(offset) === 0 &&
    bytes.readUInt32LE(offset + 4) === 0 &&
    bytes.readUInt32BE(offset + 8) === 0xffff
  return isMapped ? ipv4TextAt(bytes, offset + 12) : formatIpv6(bytes, offset)
}

/** Text of 4 address bytes. */
export function ipv4TextAt(bytes: Buffer, offset: number): string {
  return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`
}

/** SPEC RFC5952 §4: lower case, longest run of zero groups (≥ 2) as '::', the first one on a tie. */
function formatIpv6(bytes: Buffer, offset: number): string {
  const groups: number[] = []
  for (let i = 0; i < 8; i++) groups.push(bytes.readUInt16BE(offset + i * 2))
  let bestStart = -1
  let bestLength = 1
  for (let i = 0; i < 8; i++) {
    let length = 0
    while (i + length < 8 && groups[i + length] === 0) length++
    if (length > bestLength) {
      bestStart = i
      bestLength = length
    }
  }
  const text = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':')
  if (bestStart < 0) return text(groups)
  return `${text(groups.slice(0, bestStart))}::${text(groups.slice(bestStart + bestLength))}`
}
