// SPDX-License-Identifier: Apache-2.0
// Reads and writes the `:authority` of a CONNECT: where a tunnel stream wants to go. Input is hostile: pure, bounded,
// never throws. Exactly one spelling of an address is understood, so that two parsers cannot disagree.
import { type Refusal, refuse } from '../errors/refusal.ts'
import { formatSocketAddress, parseIp, parsePort } from '../net/address.ts'

const MAX_HOST_BYTES = 253 // RFC 1035 §2.3.4
const MAX_LABEL_BYTES = 63
const MAX_AUTHORITY_BYTES = MAX_HOST_BYTES + 1 + 5 // host, colon, port

/** Where a stream wants to go. `host` is canonical: a lower-case name, or an address without brackets. */
export interface ConnectTarget {
  readonly kind: 'target'
  readonly host: string
  readonly port: number
  readonly isIp: boolean
}

/** Parses `ip:port`, `[ipv6]:port` or `hostname:port`; a refusal is answered with 400. */
export function parseAuthority(authority: string): ConnectTarget | Refusal {
  if (authority.length > MAX_AUTHORITY_BYTES) return refuse('CONNECT_AUTHORITY', 'too long')
  const colon = authority.lastIndexOf(':')
  if (colon <= 0) return refuse('CONNECT_AUTHORITY', 'not host:port')
  // SPEC RFC9110 §9.3.6: CONNECT has no default port; an empty or invalid port must be rejected.
  const port = parsePort(authority.slice(colon + 1))
  if (port === undefined) return refuse('CONNECT_AUTHORITY', 'no port from 1 to 65535')
  const host = authority.slice(0, colon)
  if (host.startsWith('[') && host.endsWith(']')) {
    const literal = host.slice(1, -1)
    const ip = literal.includes(':') ? parseIp(literal) : undefined
    return ip === undefined
      ? refuse('CONNECT_AUTHORITY', 'no IPv6 address')
      : { kind: 'target', host: ip, port, isIp: true }
  }
  const ip = host.includes(':') ? undefined : parseIp(host)
  if (ip !== undefined) return { kind: 'target', host: ip, port, isIp: true }
  const name = host.toLowerCase()
  if (!isHostname(name)) return refuse('CONNECT_AUTHORITY', 'neither an address nor a host name')
  return { kind: 'target', host: name, port, isIp: false }
}

/** `host:port`, with brackets around IPv6. `host` must be canonical. */
export function formatAuthority(host: string, port: number): string {
  return formatSocketAddress(host, port)
}

/** Labels of letters, digits, `-` and `_`. A last label of digits only is refused: it looks like an address. */
export function isHostname(name: string): boolean {
  if (name.length === 0 || name.length > MAX_HOST_BYTES) return false
  let labelBytes = 0
  let isNumeric = true
  for (let i = 0; i < name.length; i++) {
    const char = name.charCodeAt(i)
    if (char === 0x2e) {
      if (labelBytes === 0) return false
      labelBytes = 0
      isNumeric = true
      continue
    }
    const isDigit = char >= 0x30 && char <= 0x39
    const isLetter = char >= 0x61 && char <= 0x7a
    if (!isDigit && !isLetter && char !== 0x2d && char !== 0x5f) return false
    if (++labelBytes > MAX_LABEL_BYTES) return false
    isNumeric = isNumeric && isDigit
  }
  return labelBytes > 0 && !isNumeric
}
