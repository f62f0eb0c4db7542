// SPDX-License-Identifier: Apache-2.0
// Another mesh's rules in the namespace of a pod. Two meshes that redirect one pod cut it off, so we leave it to the first one.
// Seen is what the kernel has as nf_tables, iptables' chains among it; not what iptables-legacy keeps to itself.
import { NETLINK_NETFILTER, NetlinkConnection } from '../../../mesh/reactor/netlink/connection.ts'
import { listChains } from '../../../mesh/reactor/netlink/nf-tables.ts'
import type { NetworkNamespace } from '../../../mesh/reactor/netns.ts'

/** Chains and tables that meshes name so: Istio with sidecars and without, Linkerd, Kuma, Consul. */
const FOREIGN_CHAINS = /^(?:ISTIO|PROXY_INIT|KUMA|CONSUL)_/
const FOREIGN_TABLES = /^istio-/

/** The first sign of one, `table/chain`; null when there is none. @throws NETLINK, NAMESPACE_GONE, MISSING_CAPABILITY */
export function findForeignRedirection(namespace: NetworkNamespace): string | null {
  const chains = NetlinkConnection.use(NETLINK_NETFILTER, namespace, listChains)
  const found = chains.find(({ table, name }) => FOREIGN_TABLES.test(table) || FOREIGN_CHAINS.test(name))
  return found === undefined ? null : `${found.table}/${found.name}`
}
