// SPDX-License-Identifier: Apache-2.0
// IP addresses as canonical text: the one form that is compared, indexed and printed everywhere.
// IPv4 is dotted decimal, IPv6 is lower case as RFC 5952 wants it, an IPv4-mapped IPv6 address is IPv4.
// Input may be hostile: bounded, never throws; `undefined` means "no address" and the caller knows the code.

const MAX_IP_TEXT = 45 // 8 groups of 4, 7 colons and a dotted tail: the longest legal spelling
const MAX_PORT = 65_535

/** An address and a port. `ip` is canonical. */
export interface SocketAddress {
  readonly ip: string
  readonly port: number
}

/** Canonical text of an address, or undefined. Zone ids, leading zeros and surrounding space are no address. */
export function parseIp(text: string): string | undefined {
  const bytes = ipToBytes(text)
  return bytes === undefined ? undefined : formatIp(bytes)
}

/** The 4 or 16 bytes of an address in network order; an IPv4-mapped IPv6 address gives 4. */
export function ipToBytes(text: string): Uint8Array | undefined {
  if (text.length > MAX_IP_TEXT) return undefined
  if (!text.includes(':')) {
    const bytes = new Uint8Array(4)
    return readIpv4(text, 0, bytes, 0) ? bytes : undefined
  }
  const bytes = readIpv6(text)
  return bytes !== undefined && isMapped(bytes) ? bytes.subarray(12) : bytes
}

/** Canonical text of 4 or 16 bytes; any other length is undefined. */
export function formatIp(bytes: Uint8Array): string | undefined {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`
  if (bytes.length !== 16) return undefined
  return isMapped(bytes) ? formatIp(bytes.subarray(12)) : formatIpv6(bytes)
}

/** True for canonical IPv6 text. Only meaningful for addresses that were parsed before. */
export function isIpv6(ip: string): boolean {
  return ip.includes(':')
}

/** True for 127.0.0.0/8 and ::1 in canonical text. */
export function isLoopback(ip: string): boolean {
  return ip.startsWith('127.') || ip === '::1'
}

/** Reads `1.2.3.4:80` or `[fd00::7]:80`. The port must be 1–65535 and carry no leading zero. */
export function parseSocketAddress(text: string): SocketAddress | undefined {
  const colon = text.lastIndexOf(':')
  if (colon < 0) return undefined
  const port = parsePort(text.slice(colon + 1))
  if (port === undefined) return undefined
  const host = text.slice(0, colon)
  const isBracketed = host.startsWith('[') && host.endsWith(']')
  // An IPv6 address without brackets would make `::1:80` mean two things.
  if (isBracketed !== host.includes(':')) return undefined
  const ip = parseIp(isBracketed ? host.slice(1, -1) : host)
  return ip === undefined ? undefined : { ip, port }
}

/** `ip:port`, with brackets around IPv6. `ip` must be canonical. */
export function formatSocketAddress(ip: string, port: number): string {
  return isIpv6(ip) ? `[${ip}]:${port}` : `${ip}:${port}`
}

/** A port 1–65535 in decimal without leading zero. */
export function parsePort(text: string): number | undefined {
  if (text.length === 0 || text.length > 5) return undefined
  let port = 0
  for (let index = 0; index < text.length; index++) {
    const digit = text.charCodeAt(index) - 48
    if (digit < 0 || digit > 9) return undefined
    port = port * 10 + digit
  }
  return text.charCodeAt(0) !== 48 && port <= MAX_PORT ? port : undefined
}

function readIpv4(text: string, from: number, bytes: Uint8Array, at: number): boolean {
  let octet = -1
  let count = 0
  for (let index = from; index <= text.length; index++) {
    const code = index === text.length ? 46 : text.charCodeAt(index)
    if (code === 46) {
      if (octet < 0 || count === 4) return false
      bytes[at + count++] = octet
      octet = -1
      continue
    }
    const digit = code - 48
    if (digit < 0 || digit > 9) return false
    // A leading zero is octal to some readers and decimal to others, so it is refused.
    if (octet === 0) return false
    octet = octet < 0 ? digit : octet * 10 + digit
    if (octet > 255) return false
  }
  return count === 4
}

function readIpv6(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(16)
  let at = 0 // bytes written
  let gapAt = -1 // where `::` stood
  let index = 0
  if (text.startsWith('::')) {
    gapAt = 0
    index = 2
  }
  while (index < text.length) {
    if (at === 16) return undefined
    const group = readGroup(text, index)
    const after = index + group.length
    if (text[after] === '.') {
      if (at > 12 || !readIpv4(text, index, bytes, at)) return undefined
      at += 4
      break
    }
    if (group.length === 0) return undefined
    bytes[at++] = group.value >> 8
    bytes[at++] = group.value & 255
    if (after === text.length) break
    if (text[after] !== ':') return undefined
    index = after + 1
    if (text[index] === ':') {
      if (gapAt >= 0) return undefined
      gapAt = at
      index++
    } else if (index === text.length) return undefined // a single trailing colon
  }
  if (gapAt < 0) return at === 16 ? bytes : undefined
  // SPEC RFC4291 §2.2: "::" stands for one or more groups of zeros.
  if (at > 14) return undefined
  bytes.copyWithin(16 - (at - gapAt), gapAt, at)
  bytes.fill(0, gapAt, 16 - (at - gapAt))
  return bytes
}

function readGroup(text: string, from: number): { value: number; length: number } {
  let value = 0
  let length = 0
  while (length < 4 && from + length < text.length) {
    const digit = hexDigit(text.charCodeAt(from + length))
    if (digit < 0) break
    value = value * 16 + digit
    length++
  }
  return { value, length }
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48
  const lower = code | 32
  return lower >= 97 && lower <= 102 ? lower - 87 : -1
}

function isMapped(bytes: Uint8Array): boolean {
  for (let index = 0; index < 10; index++) if (bytes[index] !== 0) return false
  return bytes[10] === 255 && bytes[11] === 255
}

function formatIpv6(bytes: Uint8Array): string {
  const groups: number[] = []
  for (let index = 0; index < 16; index += 2)
    groups.push(((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0))
  // SPEC RFC5952 §4.2: the longest run of two or more zero groups is shortened, the first of equals.
  let bestStart = -1
  let bestLength = 1
  for (let start = 0; start < 8; start++) {
    let length = 0
    while (start + length < 8 && groups[start + length] === 0) length++
    if (length > bestLength) {
      bestStart = start
      bestLength = length
    }
    start += length
  }
  const hex = groups.map((group) => group.toString(16))
  if (bestStart < 0) return hex.join(':')
  return `${hex.slice(0, bestStart).join(':')}::${hex.slice(bestStart + bestLength).join(':')}`
}
