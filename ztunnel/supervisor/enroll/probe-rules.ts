// SPDX-License-Identifier: Apache-2.0
// The kubelet's probes of enrolled pods: in the namespace of the node their source is rewritten to an address by which pods
// know them and let them pass without the mesh. SPEC HBONE §5.2, "Host netns": as in Istio's nftables flavour, it is what root
// opens on the node itself, never what is forwarded; the table is ours.
import { isDeepStrictEqual } from 'node:util'
import { isIpv6, parseIp } from '../../../mesh/net/address.ts'
import {
  count,
  matchIpSet,
  matchL4Protocol,
  matchSocketUser,
  sourceNatTo,
} from '../../../mesh/reactor/netlink/nf-expressions.ts'
import type { NfSet } from '../../../mesh/reactor/netlink/nf-sets.ts'
import type { NfTable } from '../../../mesh/reactor/netlink/nf-tables.ts'
import type { Log } from '../../../mesh/runtime/log.ts'
import { HostTable } from './host-table.ts'
import { PROBE_IP, PROBE_IP6 } from './redirect-rules.ts'

const TABLE = { family: 'inet', name: 'sidestep-probes' } as const
const SOURCE_NAT_PRIORITY = 100
/** Who opens probes on the node itself. */
export const KUBELET_USER = 0
const FAMILIES = [
  { family: 4, set: 'pods-v4', probe: PROBE_IP, type: 'ipv4_addr' },
  { family: 6, set: 'pods-v6', probe: PROBE_IP6, type: 'ipv6_addr' },
] as const

/** Addresses of pods as they are written down in a set of each family: those that are none are left out. */
export function podSets(ips: readonly string[]): readonly NfSet[] {
  const known = [...new Set(ips.flatMap((ip) => parseIp(ip) ?? []))].toSorted()
  return FAMILIES.map(({ family, set, type }) => ({
    ...{ name: set, type },
    elements: known.filter((ip) => isIpv6(ip) === (family === 6)),
  }))
}

/** The table for the pods that have these addresses. */
export function probeTable(ips: readonly string[]): NfTable {
  return {
    ...TABLE,
    sets: podSets(ips),
    chains: [
      {
        name: 'postrouting',
        base: { type: 'nat', hook: 'postrouting', priority: SOURCE_NAT_PRIORITY, policy: 'accept' },
        rules: FAMILIES.map(({ family, set, probe }) => [
          ...matchIpSet('destination', family, set),
          ...matchL4Protocol('tcp'),
          ...matchSocketUser(KUBELET_USER),
          ...count(),
          ...sourceNatTo(probe),
        ]),
      },
    ],
  }
}

/** The probes of one node. */
export class ProbeRules {
  readonly #table: HostTable
  readonly #ips = new Map<string, readonly string[]>()

  /** `path` is the network namespace of the node. */
  constructor(path: string, log: Log) {
    const complaint = 'probes of the kubelet are not told apart'
    this.#table = new HostTable({ path, table: TABLE, log, complaint })
  }

  /** The addresses of an enrolled pod. Never throws: sync() tries again. */
  set(uid: string, ips: readonly string[]): void {
    if (isDeepStrictEqual(this.#ips.get(uid), ips)) return
    this.#ips.set(uid, ips)
    this.sync()
  }

  remove(uid: string): void {
    if (this.#ips.delete(uid)) this.sync()
  }

  /** Makes the table what it should be, if it is not; without pods there is none. Never throws. */
  sync(): void {
    const ips = [...this.#ips.values()].flat()
    this.#table.sync(ips.length === 0 ? null : probeTable(ips))
  }

  /** Takes everything away. */
  close(): void {
    this.#ips.clear()
    this.sync()
  }
}
