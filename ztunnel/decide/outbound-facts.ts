// SPDX-License-Identifier: Apache-2.0
// What the node of a caller knows of a pair: who calls, what is meant, on which ways it would go, with which certificate,
// and what its last attempts came to. Pure: asked of a running node by its admin API, of a dump by who reads it.
import { DestinationPicker } from '../../mesh/balance/destination-picker.ts'
import type { ReasonCode } from '../../mesh/errors/reasons.ts'
import { isRefusal, type Refusal } from '../../mesh/errors/refusal.ts'
import { type DestinationView, describeDestination } from '../../mesh/model/destination.ts'
import type { MeshState } from '../../mesh/model/mesh-state.ts'
import { identityOf, type Workload } from '../../mesh/model/workload.ts'
import { workloadFacts } from '../../mesh/model/workload-facts.ts'
import { formatSocketAddress, parseSocketAddress } from '../../mesh/net/address.ts'
import type { DnsFailure } from '../dns-failures.ts'
import { carried, endsElsewhere } from './explanation.ts'
import {
  healthOf,
  type IdentityFacts,
  identityFacts,
  type NodeHealth,
  type NodeView,
  type PartyFacts,
  partyOf,
  servedPod,
} from './node-view.ts'
import { decideOutbound, type OutboundDecision } from './outbound-decision.ts'
import { type PairAttempts, pairAttempts } from './pair-attempts.ts'
import { findSource, findTarget, type NamedTarget } from './pair-names.ts'
import { explainSameNode } from './same-node-explained.ts'

/** A pair as people name it. `port` 0: nobody said. */
export interface PairAsked {
  readonly source: string
  readonly destination: string
  readonly port: number
}

/** One way to one endpoint or waypoint instance. */
export interface PairWay {
  readonly kind: 'hbone' | 'plain'
  /** Somebody behind the next hop decides: it is a waypoint, or the gateway of another network. */
  readonly isWaypoint: boolean
  /** Both pods are of this node and are joined there without a tunnel. */
  readonly isLocal: boolean
  /** One sentence. */
  readonly text: string
  /** `ip:port` of the next hop's socket. */
  readonly dial: string
  /** The application's address. */
  readonly ip: string
  readonly port: number
  /** Null: an address outside the mesh. */
  readonly destination: PartyFacts | null
}

/** What the node of the caller says. */
export interface OutboundFacts {
  readonly health: NodeHealth
  /** Null: this node knows nobody of that name. */
  readonly source: PartyFacts | null
  /** Several pods have the name: these. */
  readonly ambiguous: readonly string[]
  /** The pod is enrolled at this node. */
  readonly isServed: boolean
  readonly target: NamedTarget | null
  /** In the order they would be tried; empty when refused. */
  readonly ways: readonly PairWay[]
  readonly refusal: { readonly code: ReasonCode; readonly detail: string } | null
  readonly certificate: IdentityFacts | null
  readonly attempts: PairAttempts
  /** When the redirection of the pod was last mended, epoch ms; null: never. */
  readonly mendedMs: number | null
  /** What its last question to its resolver failed of; null: nothing. */
  readonly dnsFailure: DnsFailure | null
}

/** Endpoints that are looked at: a service may have thousands. */
const MAX_WAYS = 8

/** What the node says of a pair. */
export function outboundFacts(
  view: NodeView,
  { source: asked, destination, port }: PairAsked,
): OutboundFacts {
  const found = findSource(view, asked)
  const nothing: OutboundFacts = {
    health: healthOf(view),
    ...{ source: null, ambiguous: [], isServed: false, target: null, ways: [], refusal: null },
    ...{ certificate: null, mendedMs: null, dnsFailure: null },
    attempts: { succeededMs: null, failed: null, failedCount: 0 },
  }
  if (found.kind === 'ambiguous') return { ...nothing, ambiguous: found.names }
  if (found.kind === 'unknown') return nothing
  const { workload } = found
  const source = partyOf(workload)
  const pod = servedPod(view, workload)
  const target = findTarget(view, workload.namespace, destination, port)
  const dnsFailure = pod === undefined ? null : (view.dnsFailures[pod.uid] ?? null)
  const facts = { ...nothing, source, isServed: pod !== undefined, target, dnsFailure }
  if (view.state === null || target.ip === '' || target.port === 0) return facts
  const ways = waysOf(view, view.state, workload, target, pod !== undefined)
  const known = {
    ...facts,
    certificate: identityFacts(view, source.identity),
    mendedMs: pod === undefined ? null : (view.mendedMs[pod.uid] ?? null),
  }
  if (isRefusal(ways)) return { ...known, refusal: { code: ways.code, detail: ways.detail } }
  const targets = ways.map(({ ip, port: own }) => formatSocketAddress(ip, own))
  const attempts = pairAttempts(view.records, {
    direction: 'outbound',
    // Pods of one service account are different callers.
    ...{ sourceIdentity: '', sourceIps: source.ips },
    targets: [...targets, formatSocketAddress(target.ip, target.port)],
  })
  return { ...known, ways, attempts }
}

/** Every way the node would try; what is not enrolled goes plainly to where the tunnel would have led. */
function waysOf(
  view: NodeView,
  state: MeshState,
  source: Workload,
  target: NamedTarget,
  isServed: boolean,
): readonly PairWay[] | Refusal {
  const { network, isSocks5Enabled } = view
  const destination = describeDestination(state, source, network, target.ip, target.port)
  const picker = new DestinationPicker(destination, () => 0)
  const from = { workload: workloadFacts(source), isSocks5Enabled }
  const tried = new Set<string>()
  const ways: PairWay[] = []
  while (ways.length < MAX_WAYS) {
    const decision = decideOutbound(from, destination, picker, tried.size === 0 ? null : tried)
    if (isRefusal(decision)) return ways.length === 0 ? decision : ways
    const way = wayOf(state, decision, destination, isServed || source.protocol === 'HBONE')
    ways.push(isServed ? insideNode(view, state, source, decision, way) : way)
    if (decision.uid === '') return ways
    tried.add(decision.uid)
  }
  return ways
}

function wayOf(
  state: MeshState,
  decision: OutboundDecision,
  view: DestinationView,
  isEnrolled: boolean,
): PairWay {
  const { dial, workload } = decision
  const own = workload === null ? undefined : state.workloadByUid(workload.uid)
  const destination = own === undefined ? null : partyOf(own)
  const isTunnel = decision.kind === 'hbone'
  const address = (isTunnel ? parseSocketAddress(decision.authority) : undefined) ?? dial
  const way = { ip: address.ip, port: address.port, destination }
  if (!isTunnel || isEnrolled) {
    return {
      ...way,
      kind: decision.kind,
      isWaypoint: endsElsewhere(decision),
      isLocal: false,
      text: carried(decision).reason + waypointText(decision, view),
      dial: formatSocketAddress(dial.ip, dial.port),
    }
  }
  const to = formatSocketAddress(address.ip, address.port)
  const text = `goes to ${to} in plain text: the caller is not enrolled`
  return { ...way, kind: 'plain', isWaypoint: false, isLocal: false, text, dial: to }
}

/** A way that stays inside the node says so, and whether it takes the tunnel. */
function insideNode(
  view: NodeView,
  state: MeshState,
  source: Workload,
  decision: OutboundDecision,
  way: PairWay,
): PairWay {
  const hasCertificate = (workload: Workload): boolean => {
    const facts = identityFacts(view, identityOf(workload))
    return facts !== null && facts.chainPem.length > 0 && Date.parse(facts.expirationTime) > view.nowMs
  }
  const facts = explainSameNode(state, source, decision, hasCertificate)
  return facts === null ? way : { ...way, isLocal: facts.isLocal, text: `${way.text}; ${facts.text}` }
}

/** Which waypoint it is, and why it goes there. */
function waypointText(decision: OutboundDecision, { waypoints, service }: DestinationView): string {
  if (decision.kind === 'plain' || !decision.isWaypoint) return ''
  const own = waypoints.find(({ candidates }) => candidates.some(({ uid }) => uid === decision.uid))
  const whose = service === null ? 'the pod' : `the service ${service.namespace}/${service.name}`
  return `: ${own?.uid ?? 'it'} is the waypoint of ${whose}`
}
