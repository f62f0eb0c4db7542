// SPDX-License-Identifier: Apache-2.0
// IP prefixes: `10.0.0.0/8`, `fd00::/8`. A set of them answers in time that does not grow with its IPv4 members.
// Prefixes are canonical: host bits are cleared, an IPv4-mapped prefix is IPv4.
import { formatIp, ipToBytes } from './address.ts'

/** A prefix. `text` is canonical and always carries its length. */
export interface Cidr {
  readonly text: string
  readonly bytes: Uint8Array
  readonly prefixLength: number
}

/** Reads `address/length`; without a length it is one host. Host bits are cleared. Never throws. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf('/')
  const addressText = slash < 0 ? text : text.slice(0, slash)
  const bytes = ipToBytes(addressText)
  if (bytes === undefined) return undefined
  const bits = bytes.length * 8
  if (slash < 0) return makeCidr(bytes, bits)
  const lengthText = text.slice(slash + 1)
  if (!/^(0|[1-9]\d{0,2})$/.test(lengthText)) return undefined
  // The length of a mapped address counts its 128 bits; below 96 it names no IPv4 network at all.
  const isMapped = bits === 32 && addressText.includes(':')
  const prefixLength = Number(lengthText) - (isMapped ? 96 : 0)
  return prefixLength < 0 || prefixLength > bits ? undefined : makeCidr(bytes, prefixLength)
}

/** Canonical text of a prefix given as bytes, undefined when there is no such prefix. Host bits are cleared. */
export function formatCidr(address: Uint8Array, prefixLength: number): string | undefined {
  const ip = formatIp(address)
  if (ip === undefined) return undefined
  const isMapped = address.length === 16 && !ip.includes(':')
  return parseCidr(`${ip}/${prefixLength - (isMapped ? 96 : 0)}`)?.text
}

/** True when the address (4 or 16 bytes) lies in the prefix. Families never match each other. */
export function cidrContains(cidr: Cidr, address: Uint8Array): boolean {
  if (cidr.bytes.length !== address.length) return false
  const whole = cidr.prefixLength >> 3
  for (let index = 0; index < whole; index++) if (cidr.bytes[index] !== address[index]) return false
  const rest = cidr.prefixLength & 7
  if (rest === 0) return true
  const mask = 0xff << (8 - rest)
  return ((cidr.bytes[whole] ?? 0) & mask) === ((address[whole] ?? 0) & mask)
}

/** Many prefixes. IPv4 costs one look-up per distinct length; IPv6 is tried one by one. */
export class CidrSet {
  readonly #ipv4: { mask: number; networks: Set<number> }[] = []
  readonly #ipv6: Cidr[] = []

  constructor(cidrs: Iterable<Cidr>) {
    const byLength = new Map<number, Set<number>>()
    for (const cidr of cidrs) {
      if (cidr.bytes.length !== 4) {
        this.#ipv6.push(cidr)
        continue
      }
      const networks = byLength.get(cidr.prefixLength) ?? new Set()
      byLength.set(cidr.prefixLength, networks.add(ipv4Number(cidr.bytes)))
    }
    for (const [length, networks] of byLength) {
      this.#ipv4.push({ mask: length === 0 ? 0 : (-1 << (32 - length)) >>> 0, networks })
    }
  }

  /** True when any prefix contains the address (4 or 16 bytes). */
  contains(address: Uint8Array): boolean {
    if (address.length === 4) {
      const number = ipv4Number(address)
      for (const { mask, networks } of this.#ipv4) if (networks.has((number & mask) >>> 0)) return true
      return false
    }
    for (const cidr of this.#ipv6) if (cidrContains(cidr, address)) return true
    return false
  }
}

function makeCidr(address: Uint8Array, prefixLength: number): Cidr {
  const bytes = Uint8Array.from(address)
  for (let index = 0; index < bytes.length; index++) {
    const kept = Math.min(8, Math.max(0, prefixLength - index * 8))
    bytes[index] = (bytes[index] ?? 0) & (0xff << (8 - kept))
  }
  return { text: `${formatIp(bytes)}/${prefixLength}`, bytes, prefixLength }
}

function ipv4Number(bytes: Uint8Array): number {
  return (((bytes[0] ?? 0) << 24) | ((bytes[1] ?? 0) << 16) | ((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0)) >>> 0
}
