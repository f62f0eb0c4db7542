// SPDX-License-Identifier: Apache-2.0
// What nf_tables rules are made of: expressions as plain data that can be compared and printed, and their builders.
// Everything passes through register 1. Values are hex text of the register's bytes: headers in network order,
// marks in the machine's. The order of expressions is nft's own, so that `nft list ruleset` prints them as rules.
import { MeshError } from '../../errors/mesh-error.ts'
import { parseInterfaceAddress } from './addresses.ts'

/** Keys and codes as the kernel numbers them (linux/netfilter/nf_tables.h, netfilter.h). */
export const META_KEYS = { mark: 3, iifname: 6, oifname: 7, skuid: 10, nfproto: 15, l4proto: 16 } as const
export const CT_KEYS = { mark: 3, zone: 17 } as const
export const BASES = { network: 1, transport: 2 } as const
export const OPERATORS = { eq: 0, neq: 1 } as const
export const VERDICTS = { drop: 0, accept: 1, jump: -3, goto: -4, return: -5 } as const
const PROTOCOLS = { tcp: 6, udp: 17 } as const
const INTERFACE_NAME_BYTES = 16
const TCP_FLAGS_OFFSET = 13

export type MetaKey = keyof typeof META_KEYS
export type CtKey = keyof typeof CT_KEYS
export type Verdict = keyof typeof VERDICTS
export type L4Protocol = keyof typeof PROTOCOLS

/** One step of a rule. A comparison that fails ends the rule; the others load or change register 1. */
export type Expression =
  /** Loads a fact about the packet. */
  | { readonly kind: 'meta'; readonly key: MetaKey }
  /** Writes register 1 into the packet. */
  | { readonly kind: 'metaSet'; readonly key: MetaKey }
  /** Loads a fact about the connection. */
  | { readonly kind: 'ct'; readonly key: CtKey }
  /** Writes register 1 into the connection. */
  | { readonly kind: 'ctSet'; readonly key: CtKey; readonly direction?: 'original' }
  /** Loads bytes of a header. */
  | {
      readonly kind: 'payload'
      readonly base: keyof typeof BASES
      readonly offset: number
      readonly bytes: number
    }
  /** register 1 = (register 1 & mask) ^ xor */
  | { readonly kind: 'bitwise'; readonly mask: string; readonly xor: string }
  | { readonly kind: 'compare'; readonly operator: keyof typeof OPERATORS; readonly value: string }
  /** Loads a constant. */
  | { readonly kind: 'immediate'; readonly value: string }
  /** Ends the rule with a decision. `chain` is empty unless the verdict is a jump or goto. */
  | { readonly kind: 'verdict'; readonly verdict: Verdict; readonly chain: string }
  /** Ends the rule unless register 1 is in the set. */
  | { readonly kind: 'lookup'; readonly set: string }
  /** Changes the source to the address in register 1. */
  | { readonly kind: 'sourceNat'; readonly family: 4 | 6 }
  /** Changes the destination to this machine and the port in register 1. */
  | { readonly kind: 'redirect' }
  /** Ends the rule for packets beyond so many a second. */
  | { readonly kind: 'limit'; readonly perSecond: number; readonly burst: number }
  /** Shows the packet to whoever listens to the group (packet-log.ts). */
  | { readonly kind: 'log'; readonly group: number }
  /** Answers with a TCP reset, and ends the packet. */
  | { readonly kind: 'resetTcp' }
  /** Counts packets and bytes. Rules that are read back carry the numbers beside their expressions. */
  | { readonly kind: 'counter' }
  /** Read from the kernel, not of ours. */
  | { readonly kind: 'unknown'; readonly name: string }

export type Expressions = readonly Expression[]

/** Hex text of a 32-bit number as registers hold it. */
function hex32(value: number): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value >>> 0)
  return bytes.toString('hex')
}
function hexPort(port: number): string {
  return port.toString(16).padStart(4, '0')
}
function compare(value: string, isNegated = false): Expression {
  return { kind: 'compare', operator: isNegated ? 'neq' : 'eq', value }
}
function maskAndCompare(value: number, mask: number, isNegated: boolean): Expressions {
  const masked: Expression = { kind: 'bitwise', mask: hex32(mask), xor: hex32(0) }
  return [...(mask >>> 0 === 0xffffffff ? [] : [masked]), compare(hex32(value), isNegated)]
}

export function matchL4Protocol(protocol: L4Protocol): Expressions {
  return [{ kind: 'meta', key: 'l4proto' }, compare(PROTOCOLS[protocol].toString(16).padStart(2, '0'))]
}
export function matchFamily(family: 4 | 6): Expressions {
  return [{ kind: 'meta', key: 'nfproto' }, compare(family === 4 ? '02' : '0a')]
}
/** The packet's mark, under a mask. */
export function matchMark(value: number, mask: number, isNegated = false): Expressions {
  return [{ kind: 'meta', key: 'mark' }, ...maskAndCompare(value, mask, isNegated)]
}
/** The connection's mark, under a mask. */
export function matchConnectionMark(value: number, mask: number, isNegated = false): Expressions {
  return [{ kind: 'ct', key: 'mark' }, ...maskAndCompare(value, mask, isNegated)]
}
/** The interface a packet came by or leaves by. */
export function matchInterface(direction: 'in' | 'out', name: string, isNegated = false): Expressions {
  const bytes = Buffer.alloc(INTERFACE_NAME_BYTES)
  if (bytes.write(name) >= INTERFACE_NAME_BYTES) {
    throw new MeshError('NETLINK', { detail: `interface name too long: ${JSON.stringify(name)}` })
  }
  return [
    { kind: 'meta', key: direction === 'in' ? 'iifname' : 'oifname' },
    compare(bytes.toString('hex'), isNegated),
  ]
}
/** Source or destination address or prefix of either family; matches packets of that family only. @throws NETLINK */
export function matchIp(field: 'source' | 'destination', address: string, isNegated = false): Expressions {
  const { bytes, prefixLength } = parseInterfaceAddress(address)
  const isIpv4 = bytes.length === 4
  const offset = (isIpv4 ? 12 : 8) + (field === 'destination' ? bytes.length : 0)
  const mask = prefixMask(bytes.length, prefixLength)
  const value = Buffer.from(bytes.map((byte, index) => byte & (mask[index] ?? 0))).toString('hex')
  const zero = '00'.repeat(bytes.length)
  const isHost = prefixLength === bytes.length * 8
  const masked: Expression = { kind: 'bitwise', mask: mask.toString('hex'), xor: zero }
  return [
    ...matchFamily(isIpv4 ? 4 : 6),
    { kind: 'payload', base: 'network', offset, bytes: bytes.length },
    ...(isHost ? [] : [masked]),
    compare(value, isNegated),
  ]
}
/** Source or destination address in a set of that family. */
export function matchIpSet(field: 'source' | 'destination', family: 4 | 6, set: string): Expressions {
  const bytes = family === 4 ? 4 : 16
  const offset = (family === 4 ? 12 : 8) + (field === 'destination' ? bytes : 0)
  return [
    ...matchFamily(family),
    { kind: 'payload', base: 'network', offset, bytes },
    { kind: 'lookup', set },
  ]
}
/** A packet of a socket of this machine that belongs to a user; a packet that is only forwarded has none. */
export function matchSocketUser(uid: number): Expressions {
  return [{ kind: 'meta', key: 'skuid' }, compare(hex32(uid))]
}
/** From `address` instead. nat hooks after routing only. @throws NETLINK */
export function sourceNatTo(address: string): Expressions {
  const { bytes } = parseInterfaceAddress(address)
  const value = Buffer.from(bytes).toString('hex')
  return [
    { kind: 'immediate', value },
    { kind: 'sourceNat', family: bytes.length === 4 ? 4 : 6 },
  ]
}
function prefixMask(byteLength: number, prefixLength: number): Buffer {
  const mask = Buffer.alloc(byteLength)
  for (let index = 0; index < byteLength; index++) {
    const kept = Math.min(8, Math.max(0, prefixLength - index * 8))
    mask[index] = 0xff << (8 - kept)
  }
  return mask
}
/** Protocol and port. */
export function matchPort(
  protocol: L4Protocol,
  field: 'source' | 'destination',
  port: number,
  isNegated = false,
): Expressions {
  return [
    ...matchL4Protocol(protocol),
    { kind: 'payload', base: 'transport', offset: field === 'source' ? 0 : 2, bytes: 2 },
    compare(hexPort(port), isNegated),
  ]
}
/** Of TCP packets, which are matched before, the first of a connection. */
export function matchTcpStart(): Expressions {
  return [
    { kind: 'payload', base: 'transport', offset: TCP_FLAGS_OFFSET, bytes: 1 },
    { kind: 'bitwise', mask: '16', xor: '00' },
    compare('02'),
  ]
}
/**
 * The first packet of a TCP connection, by its flags: SYN without ACK or RST. That needs no tracking of connections, so it
 * holds where the table of connections is full, was flushed, or does not know the packet.
 */
export function matchTcpOpening(): Expressions {
  return [...matchL4Protocol('tcp'), ...matchTcpStart()]
}
/** Sets the packet's whole mark. */
export function setMark(value: number): Expressions {
  return [
    { kind: 'immediate', value: hex32(value) },
    { kind: 'metaSet', key: 'mark' },
  ]
}
/** Gives the packet the mark of its connection. */
export function restoreMark(): Expressions {
  return [
    { kind: 'ct', key: 'mark' },
    { kind: 'metaSet', key: 'mark' },
  ]
}
/** Replaces the bits of `mask` in the connection's mark. */
export function setConnectionMark(value: number, mask = 0xffffffff): Expressions {
  if (mask >>> 0 === 0xffffffff)
    return [
      { kind: 'immediate', value: hex32(value) },
      { kind: 'ctSet', key: 'mark' },
    ]
  return [
    { kind: 'ct', key: 'mark' },
    { kind: 'bitwise', mask: hex32(~mask), xor: hex32(value) },
    { kind: 'ctSet', key: 'mark' },
  ]
}
/**
 * Tracks the connection in a zone of its own; raw hooks only. With a direction only what goes there is told apart by zone: the
 * packets of the other one need no rule.
 */
export function setConnectionZone(zone: number, direction?: 'original'): Expressions {
  return [
    { kind: 'immediate', value: hex32(zone).slice(0, 4) },
    { kind: 'ctSet', key: 'zone', ...(direction !== undefined && { direction }) },
  ]
}
/** To this machine, at `port`. nat hooks only, after a match on the protocol. */
export function redirectTo(port: number): Expressions {
  return [{ kind: 'immediate', value: hexPort(port) }, { kind: 'redirect' }]
}
/** So many packets a second go on in the rule. */
export function limitTo(perSecond: number, burst: number): Expressions {
  return [{ kind: 'limit', perSecond, burst }]
}
/** Shows the packet to who listens to the group, if anybody does. */
export function logTo(group: number): Expressions {
  return [{ kind: 'log', group }]
}
/** Refuses with a reset. Hooks input, forward and output only, after a match on TCP. */
export function resetTcp(): Expressions {
  return [{ kind: 'resetTcp' }]
}
export function count(): Expressions {
  return [{ kind: 'counter' }]
}
export function decide(verdict: Exclude<Verdict, 'jump' | 'goto'>): Expressions {
  return [{ kind: 'verdict', verdict, chain: '' }]
}
export function jumpTo(chain: string): Expressions {
  return [{ kind: 'verdict', verdict: 'jump', chain }]
}
