// SPDX-License-Identifier: Apache-2.0
// One traffic policy per service that waypoints send to, from the DestinationRules for its host. SPEC ISTIO-API: the nearest
// host counts; of several rules for it the policy of the first, and the subsets of all.
import { create, equals } from '@bufbuild/protobuf'
import {
  type TrafficPolicy,
  TrafficPolicySchema,
} from '../../../proto/generated/sidestep/v1/traffic_policy_pb.js'
import { type ConfigView, kindKey } from '../../watch/config-object.ts'
import { compareAge } from '../age.ts'
import { Memo } from '../memo.ts'
import { Notes } from '../notes.ts'
import type { ServiceInfo } from '../service-info.ts'
import type { ServicesResult } from '../service-stage.ts'
import type { ConfigFinding, WaypointScope } from '../translation.ts'
import type { HostIndex } from './backend-finder.ts'
import { type DestinationPart, readDestinationRule, type SubsetInit } from './destination-rule.ts'
import { isWildcard, wildcardsOf } from './host-routes.ts'

const DESTINATION_RULE = kindKey('networking.istio.io', 'DestinationRule')

export interface TrafficPoliciesResult {
  /** By `<namespace>/<hostname>`. */
  readonly messages: ReadonlyMap<string, TrafficPolicy>
  readonly findings: readonly ConfigFinding[]
}

/** What policies are made for. */
export interface PolicyWorld {
  readonly view: ConfigView
  readonly services: ServicesResult
  readonly hosts: HostIndex
  readonly scopes: ReadonlyMap<string, WaypointScope>
}

export class TrafficPolicyStage {
  readonly #parts = new Memo<DestinationPart>()
  readonly #messages = new Memo<TrafficPolicy>((old, fresh) =>
    equals(TrafficPolicySchema, old, fresh) ? old : fresh,
  )

  run({ view, services, hosts, scopes }: PolicyWorld): TrafficPoliciesResult {
    this.#parts.sweep()
    this.#messages.sweep()
    const parts = this.#read(view)
    const findings = parts.flatMap((part) => [...part.findings])
    if (parts.length === 0) return { messages: new Map(), findings }
    const used = new Set([...scopes.values()].flatMap((scope) => [...scope.used]))
    const { near, far } = indexOf(parts, hosts)
    const messages = new Map<string, TrafficPolicy>()
    const counting = new Set<DestinationPart>()
    const shadowed = new Map<DestinationPart, string>()
    for (const info of services.waypoints.keys()) {
      if (!used.has(info.key)) continue
      const chosen = choose(info, near.get(info) ?? [], far)
      if (chosen.length === 0) continue
      const message = this.#messages.get(info.key, [info, ...chosen], () => messageOf(info, chosen))
      messages.set(info.key, message)
      const first = chosen.find(({ whole }) => whole !== null)
      for (const part of chosen) {
        if (part.whole === null || part === first) counting.add(part)
        else shadowed.set(part, message.origin)
      }
    }
    for (const part of parts) for (const finding of resultOf(part, counting, shadowed)) findings.push(finding)
    return { messages, findings }
  }

  /** The oldest first. */
  #read(view: ConfigView): DestinationPart[] {
    return view
      .list(DESTINATION_RULE)
      .map((object) => {
        const key = `${object.metadata.namespace}/${object.metadata.name}`
        const part = this.#parts.get(key, [object], () => readDestinationRule(object))
        return { key, createdMs: object.metadata.createdMs, part }
      })
      .toSorted(compareAge)
      .map(({ part }) => part)
  }
}

interface PolicyIndex {
  readonly near: ReadonlyMap<ServiceInfo, readonly DestinationPart[]>
  readonly far: ReadonlyMap<string, readonly DestinationPart[]>
}

function indexOf(parts: readonly DestinationPart[], hosts: HostIndex): PolicyIndex {
  const near = new Map<ServiceInfo, DestinationPart[]>()
  const far = new Map<string, DestinationPart[]>()
  for (const part of parts) {
    const found = hosts.findAll(part.host, part.object.metadata.namespace)
    for (const info of found) push(near, info, part)
    const host = part.host.toLowerCase()
    if (found.length === 0 && isWildcard(host)) push(far, host, part)
  }
  return { near, far }
}

function push<K>(map: Map<K, DestinationPart[]>, key: K, part: DestinationPart): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [part])
  else list.push(part)
}

/** The rules for the nearest host; of those the ones beside the service come first. */
function choose(
  info: ServiceInfo,
  near: readonly DestinationPart[],
  far: PolicyIndex['far'],
): readonly DestinationPart[] {
  const isFor = ({ exportedTo }: DestinationPart): boolean =>
    exportedTo === null || exportedTo.includes(info.namespace)
  const sets = [
    near,
    ...(far.size === 0 ? [] : wildcardsOf(info.hostname).map((host) => far.get(host) ?? [])),
  ]
  const chosen = sets.map((set) => set.filter(isFor)).find((set) => set.length > 0) ?? []
  const isBeside = ({ object }: DestinationPart): boolean => object.metadata.namespace === info.namespace
  return [...chosen.filter(isBeside), ...chosen.filter((part) => !isBeside(part))]
}

function messageOf(info: ServiceInfo, parts: readonly DestinationPart[]): TrafficPolicy {
  const first = parts.find(({ whole }) => whole !== null) ?? parts[0]
  const subsets = new Map<string, SubsetInit>()
  for (const part of parts)
    for (const subset of part.subsets)
      if (!subsets.has(subset.name ?? '')) subsets.set(subset.name ?? '', subset)
  const { namespace = '', name = '' } = first?.object.metadata ?? {}
  return create(TrafficPolicySchema, {
    service: info.key,
    policy: first?.whole?.policy ?? {},
    ports: { ...first?.whole?.ports },
    subsets: [...subsets.values()],
    origin: `${namespace}/${name}`,
  })
}

function resultOf(
  part: DestinationPart,
  counting: ReadonlySet<DestinationPart>,
  shadowed: ReadonlyMap<DestinationPart, string>,
): readonly ConfigFinding[] {
  if (counting.has(part) || part.host === '') return []
  const notes = new Notes(part.object)
  const other = shadowed.get(part)
  if (other === undefined) {
    const message = 'no waypoint sends to a service of this host'
    notes.add(
      'ROUTE_NEEDS_WAYPOINT',
      'spec.host',
      message,
      'annotate the service with sidestep.dev/waypoint: auto',
    )
  } else notes.add('ROUTE_CONFLICT', 'spec.trafficPolicy', `the policy of ${other} counts`, 'merge the two')
  return notes.findings
}
