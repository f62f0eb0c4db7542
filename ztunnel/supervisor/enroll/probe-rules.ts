// SPDX-License-Identifier: Apache-2.0
// The kubelet's probes of enrolled pods: in the namespace of the node their source is rewritten to an address by which pods
// know them and let them pass without the mesh. SPEC HBONE §5.2, "Host netns": as in Istio's nftables flavour, it is what root
// opens on the node itself, never what is forwarded; the table is ours.
import { isDeepStrictEqual } from 'node:util'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { isIpv6, parseIp } from '../../../mesh/net/address.ts'
import { NETLINK_NETFILTER, NetlinkConnection } from '../../../mesh/reactor/netlink/connection.ts'
import {
  count,
  matchIpSet,
  matchL4Protocol,
  matchSocketUser,
  sourceNatTo,
} from '../../../mesh/reactor/netlink/nf-expressions.ts'
import {
  deleteTables,
  type NfTable,
  readTable,
  replaceTables,
  withoutState,
} from '../../../mesh/reactor/netlink/nf-tables.ts'
import { NetworkNamespace } from '../../../mesh/reactor/netns.ts'
import type { Log } from '../../../mesh/runtime/log.ts'
import { PROBE_IP, PROBE_IP6 } from './redirect-rules.ts'

const TABLE = { family: 'inet', name: 'sidestep-probes' } as const
const SOURCE_NAT_PRIORITY = 100
const KUBELET_USER = 0

/** The table for the pods that have these addresses. */
export function probeTable(ips: readonly string[]): NfTable {
  const known = [...new Set(ips.flatMap((ip) => parseIp(ip) ?? []))].toSorted()
  const families = [
    { family: 4, set: 'pods-v4', probe: PROBE_IP, type: 'ipv4_addr' },
    { family: 6, set: 'pods-v6', probe: PROBE_IP6, type: 'ipv6_addr' },
  ] as const
  return {
    ...TABLE,
    sets: families.map(({ family, set, type }) => ({
      ...{ name: set, type },
      elements: known.filter((ip) => isIpv6(ip) === (family === 6)),
    })),
    chains: [
      {
        name: 'postrouting',
        base: { type: 'nat', hook: 'postrouting', priority: SOURCE_NAT_PRIORITY, policy: 'accept' },
        rules: families.map(({ family, set, probe }) => [
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
  readonly #path: string
  readonly #log: Log
  readonly #ips = new Map<string, readonly string[]>()
  #lastFailure = ''

  /** `path` is the network namespace of the node. */
  constructor(path: string, log: Log) {
    this.#path = path
    this.#log = log
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
    const wanted = ips.length === 0 ? null : probeTable(ips)
    try {
      this.#write(wanted)
      this.#lastFailure = ''
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      const { code, detail } = error
      if (detail !== this.#lastFailure)
        this.#log.warn({ reason: code, detail }, 'probes of the kubelet are not told apart')
      this.#lastFailure = detail
    }
  }

  /** Takes everything away. */
  close(): void {
    this.#ips.clear()
    this.sync()
  }

  #write(wanted: NfTable | null): void {
    const namespace = NetworkNamespace.open(this.#path)
    try {
      NetlinkConnection.use(NETLINK_NETFILTER, namespace, (connection) => {
        const found = readTable(connection, TABLE)
        if (isDeepStrictEqual(found === null ? null : withoutState(found), wanted)) return
        if (wanted === null) deleteTables(connection, [TABLE])
        else replaceTables(connection, [wanted])
      })
    } finally {
      namespace.close()
    }
  }
}
