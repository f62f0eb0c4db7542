// SPDX-License-Identifier: Apache-2.0
// Addresses for hosts that have none, so that a connection by address says which host was meant. The address follows
// from the host alone (a hash), so that every controller gives the same one without asking; only where two hosts meet
// does the younger one move on.
import { formatIp } from '../../mesh/net/address.ts'
import { parseCidr } from '../../mesh/net/cidr.ts'
import { compareAge } from './age.ts'
import { stableHash } from './stable-hash.ts'

/** A host without address. */
export interface AddressWish {
  /** `<namespace>/<hostname>`. */
  readonly key: string
  /** Epoch milliseconds; NaN when unknown. The older host keeps its place. */
  readonly createdMs: number
}

/**
 * Addresses by key. Hosts for which none is left are absent. `taken`: canonical text of addresses that belong to others.
 * A range that is no IPv4 network gives none.
 */
export function assignAddresses(
  range: string,
  wishes: readonly AddressWish[],
  taken: ReadonlySet<string>,
): ReadonlyMap<string, string> {
  const cidr = parseCidr(range)
  const assigned = new Map<string, string>()
  if (cidr === undefined || cidr.bytes.length !== 4) return assigned
  // Neither the network's own address nor its last one.
  const count = 2 ** (32 - cidr.prefixLength) - 2
  const base = new DataView(cidr.bytes.buffer, cidr.bytes.byteOffset, 4).getUint32(0)
  const used = new Set(taken)
  for (const { key } of wishes.toSorted(compareAge)) {
    const ip = firstFree(base, count, key, used)
    if (ip === undefined) continue
    assigned.set(key, ip)
    used.add(ip)
  }
  return assigned
}

const MAX_PROBES = 4096 // a range so full that as many places in a row are taken is full enough to be refused

function firstFree(base: number, count: number, key: string, used: ReadonlySet<string>): string | undefined {
  const start = stableHash(key)
  for (let probe = 0; probe < Math.min(count, MAX_PROBES); probe++) {
    const ip = textOf(base + 1 + ((start + probe) % count))
    if (!used.has(ip)) return ip
  }
  return undefined
}

function textOf(address: number): string {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, address)
  return formatIp(bytes) ?? ''
}
