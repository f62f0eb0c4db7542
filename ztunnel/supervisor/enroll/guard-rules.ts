// SPDX-License-Identifier: Apache-2.0
// The guard of strict pods: a table in the namespace of the node that resets what opens a TCP connection to a closed port of
// theirs, whatever has become of the rules inside them. Pure. Connections are told by their first packet, so what is open
// stays, and answers to a pod pass. Fragments are whole here: the source NAT of probe-rules.ts has the kernel gather them.

import { formatIp, isIpv6, parseIp } from '../../../mesh/net/address.ts'
import { HBONE_PORT } from '../../../mesh/net/mesh-ports.ts'
import type { PortSet } from '../../../mesh/net/port-set.ts'
import {
  count,
  decide,
  type Expressions,
  jumpTo,
  limitTo,
  logTo,
  matchIp,
  matchIpSet,
  matchL4Protocol,
  matchPort,
  matchSocketUser,
  matchTcpOpening,
  resetTcp,
} from '../../../mesh/reactor/netlink/nf-expressions.ts'
import type { NfBase, NfTable } from '../../../mesh/reactor/netlink/nf-tables.ts'
import type { StandingRules } from './host-table.ts'
import { KUBELET_USER, podSets } from './probe-rules.ts'

export const GUARD_TABLE = { family: 'inet', name: 'sidestep-guard' } as const
/** Who listens to it hears of refused connections. */
export const GUARD_LOG_GROUP = 15_008
/** Refusals told in a second; all are counted. */
const TOLD_PER_SECOND = 50
/** Refusals told at once, after a while without any. */
const TOLD_BURST = 100
/** Rules about pods: what fits into one transaction. An address of a pod has one, and one more for each port that differs. */
export const MAX_GUARD_RULES = 400
/** Ports of one pod that differ from its others; a pod with more has no guard. */
export const MAX_GUARD_PORTS = 32
/** Behind the rules of others: what a NetworkPolicy drops is dropped. */
const PRIORITY = 10

const FAMILIES = [
  { family: 4, set: 'pods-v4', chain: 'to-v4' },
  { family: 6, set: 'pods-v6', chain: 'to-v6' },
] as const

/** A pod and what is closed of it. */
export interface GuardedPod {
  readonly uid: string
  readonly ips: readonly string[]
  readonly closed: PortSet
}

/** The pods of which something is closed, as far as they fit; the others have no guard. */
export function choosePods(pods: readonly GuardedPod[]): {
  readonly guarded: readonly GuardedPod[]
  readonly unguarded: readonly GuardedPod[]
} {
  const guarded: GuardedPod[] = []
  const unguarded: GuardedPod[] = []
  let ruleCount = 0
  for (const pod of pods) {
    const { isAllBut, ports } = pod.closed
    if (pod.ips.length === 0 || (!isAllBut && ports.length === 0)) continue
    const added = pod.ips.length * (ports.length + (isAllBut ? 1 : 0))
    const fits = ports.length <= MAX_GUARD_PORTS && ruleCount + added <= MAX_GUARD_RULES
    if (fits) ruleCount += added
    ;(fits ? guarded : unguarded).push(pod)
  }
  return { guarded, unguarded }
}

/** The table for pods of choosePods(). */
export function guardTable(pods: readonly GuardedPod[]): NfTable {
  const base = (hook: 'forward' | 'output'): NfBase => ({
    ...{ type: 'filter', hook, priority: PRIORITY, policy: 'accept' },
  })
  const openings = FAMILIES.map(({ family, set, chain }) => [
    ...matchIpSet('destination', family, set),
    ...matchTcpOpening(),
    ...jumpTo(chain),
  ])
  const tunnels = [...matchPort('tcp', 'destination', HBONE_PORT), ...decide('accept')]
  const probes = [...matchSocketUser(KUBELET_USER), ...decide('accept')]
  return {
    ...GUARD_TABLE,
    sets: podSets(pods.flatMap(({ ips }) => ips)),
    chains: [
      { name: 'forward', base: base('forward'), rules: openings },
      { name: 'output', base: base('output'), rules: [probes, ...openings] },
      ...FAMILIES.map(({ family, chain }) => ({
        ...{ name: chain, base: null },
        rules: [tunnels, ...pods.flatMap((pod) => podRules(pod, family))],
      })),
      {
        ...{ name: 'refused', base: null },
        rules: [
          [...limitTo(TOLD_PER_SECOND, TOLD_BURST), ...logTo(GUARD_LOG_GROUP)],
          [...matchL4Protocol('tcp'), ...resetTcp()],
        ],
      },
    ],
  }
}

function podRules({ ips, closed }: GuardedPod, family: 4 | 6): Expressions[] {
  const refuse = [...count(), ...jumpTo('refused')]
  return ips
    .flatMap((ip) => parseIp(ip) ?? [])
    .filter((ip) => isIpv6(ip) === (family === 6))
    .flatMap((ip) => {
      const isTo = matchIp('destination', ip)
      const each = closed.ports.map((port) => [
        ...isTo,
        ...matchPort('tcp', 'destination', port),
        ...(closed.isAllBut ? decide('return') : refuse),
      ])
      return closed.isAllBut ? [...each, [...isTo, ...refuse]] : each
    })
}

/** Connections refused since the table was written, by the address of the pod. */
export function refusedCounts(rules: StandingRules): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const { chain, family } of FAMILIES)
    for (const { expressions, counters } of rules.get(chain) ?? []) {
      const bytes = family === 4 ? 4 : 16
      const loaded = expressions.findIndex(({ kind }, index) => kind === 'payload' && index === 2)
      const compared = expressions[loaded + 1]
      const address = compared?.kind === 'compare' ? Buffer.from(compared.value, 'hex') : Buffer.of()
      const ip = address.length === bytes ? formatIp(address) : undefined
      if (counters === null || ip === undefined) continue
      counts.set(ip, (counts.get(ip) ?? 0) + counters.packets)
    }
  return counts
}
