// SPDX-License-Identifier: Apache-2.0
// Who has a say in what happens with the traffic of a service, and whose word counts: for each port and each namespace of
// callers one family of routes, the most specific that is there. Pure.
import { AppProtocol } from '../../../proto/generated/istio/workload_pb.js'
import type { ServiceInfo } from '../service-info.ts'
import { ROUTE_KINDS, type RouteKind } from './gateway-route.ts'
import type { RulesPart } from './route-part.ts'

/** In the order in which they are asked: routes of the Gateway API are said of one service, the others of hosts. */
export const FAMILIES = [...ROUTE_KINDS, 'VirtualService', 'TrafficSplit'] as const
export type Family = RouteKind | 'VirtualService' | 'TrafficSplit'

/** One object's say about one service. */
export interface Claim {
  readonly family: Family
  readonly part: RulesPart
  /** Callers of this namespace only; '': all. */
  readonly consumer: string
  /** 0: all of the service. */
  readonly port: number
}

/** What became of a claim, on the port where it fared best. */
export type Outcome = 'counts' | 'conflict' | 'protocol'

/** What a port's list is made of. */
export type Form = 'http' | 'tls' | 'tcp'

/** A choice for one port and one namespace of callers. */
export interface Choice {
  readonly form: Form
  readonly claims: readonly Claim[]
}

/** The claims that count, in the order in which they came; null: nobody's. `outcomes` is told of all of them. */
export function choose(
  claims: readonly Claim[],
  { protocol, port }: Pick<PortGroup, 'protocol'> & { readonly port: number },
  outcomes: Map<Claim, Outcome>,
): Choice | null {
  let choice: Choice | null = null
  const byFamily = Map.groupBy(claims, ({ family }) => family)
  for (const family of FAMILIES) {
    const own = byFamily.get(family) ?? []
    const candidates = own.map((claim) => ({ claim, form: formOf(claim, protocol, port) }))
    const fitting = candidates.filter(({ form }) => form !== null)
    for (const { claim, form } of candidates) {
      const first = fitting[0]
      // Of hosts the first word counts; routes of a service add up.
      const isAlone = family === 'VirtualService' || family === 'TrafficSplit'
      const counts = form !== null && choice === null && (!isAlone || first?.claim === claim)
      note(outcomes, claim, form === null ? 'protocol' : counts ? 'counts' : 'conflict')
    }
    const form = fitting[0]?.form ?? null
    if (form === null || choice !== null) continue
    const counting = fitting.map(({ claim }) => claim)
    const isAlone = family === 'VirtualService' || family === 'TrafficSplit'
    choice = { form, claims: isAlone ? counting.slice(0, 1) : counting }
  }
  return choice
}

const BETTER: readonly Outcome[] = ['protocol', 'conflict', 'counts']

function note(outcomes: Map<Claim, Outcome>, claim: Claim, outcome: Outcome): void {
  const before = outcomes.get(claim)
  if (before === undefined || BETTER.indexOf(outcome) > BETTER.indexOf(before)) outcomes.set(claim, outcome)
}

/** How a claim can be served on a port that speaks this; null: not at all. */
function formOf({ family, part }: Claim, protocol: AppProtocol, port: number): Form | null {
  const speaks = wordOf(protocol)
  const isHttp = speaks === 'http' || speaks === 'unknown'
  switch (family) {
    case 'GRPCRoute':
    case 'HTTPRoute':
      return isHttp ? 'http' : null
    case 'TLSRoute':
      return speaks === 'http' ? null : 'tls'
    case 'TCPRoute':
      return 'tcp'
    case 'VirtualService':
    case 'TrafficSplit':
      if (isHttp && isForPort(part.entries, port)) return 'http'
      if (speaks === 'http') return null
      if (speaks === 'tcp' && isForPort(part.tcp, port)) return 'tcp'
      if (isForPort(part.tls, port)) return 'tls'
      return isForPort(part.tcp, port) ? 'tcp' : null
  }
}

function isForPort(parts: readonly { readonly port: number }[], port: number): boolean {
  return parts.some((each) => each.port === 0 || each.port === port)
}

/** What is to be told apart of protocols. */
export function wordOf(protocol: AppProtocol): 'http' | 'tls' | 'tcp' | 'unknown' {
  if (protocol === AppProtocol.UNKNOWN) return 'unknown'
  if (protocol === AppProtocol.TLS) return 'tls'
  return protocol === AppProtocol.TCP ? 'tcp' : 'http'
}

/** A group of ports that are served alike. */
export interface PortGroup {
  readonly ports: readonly number[]
  readonly protocol: AppProtocol
  readonly claims: readonly Claim[]
}

/** Ports of a service by what is claimed of them; the largest group first. Cost: ports + claims. */
export function groupPorts({ ports }: ServiceInfo, claims: readonly Claim[]): PortGroup[] {
  const byPort = new Map<number, number[]>()
  const named = new Set<number>()
  for (const [index, { port, part }] of claims.entries()) {
    const own = byPort.get(port)
    if (own === undefined) byPort.set(port, [index])
    else own.push(index)
    for (const each of [...part.entries, ...part.tcp, ...part.tls]) named.add(each.port)
  }
  const groups = new Map<string, { ports: number[]; protocol: AppProtocol; port: number }>()
  for (const { servicePort, appProtocol } of ports) {
    const own = byPort.get(servicePort)?.join() ?? ''
    const key = `${wordOf(appProtocol)} ${own} ${named.has(servicePort) ? servicePort : ''}`
    const group = groups.get(key)
    if (group === undefined)
      groups.set(key, { ports: [servicePort], protocol: appProtocol, port: servicePort })
    else group.ports.push(servicePort)
  }
  return [...groups.values()]
    .toSorted((left, right) => right.ports.length - left.ports.length)
    .map(({ ports: own, protocol, port }) => ({
      ...{ ports: own, protocol },
      claims: claims.filter((claim) => claim.port === 0 || claim.port === port),
    }))
}
