// SPDX-License-Identifier: Apache-2.0
// Finds what a policy with targetRefs is about: services with the ports of their workloads, and workloads that ask for a
// waypoint themselves.
import type { ConfigObject } from '../watch/config-object.ts'
import { readPortMap } from './endpoint-address.ts'
import type { SliceMember } from './endpoint-slices.ts'
import { Fields } from './fields.ts'
import { Notes } from './notes.ts'
import { namedPortsOf } from './pods.ts'
import type { FindTarget, FoundTarget, TargetedService } from './policy-targets.ts'
import { type Labels, selects } from './selectors.ts'
import { MAX_PORT, type ServiceInfo } from './service-info.ts'
import type { ServicesResult } from './service-stage.ts'
import { boundWaypoints } from './services.ts'
import { type WaypointName, waypointKey } from './waypoint-request.ts'
import { ISTIO_WAYPOINT_CLASS, isMeantFor, type Waypoints } from './waypoints.ts'
import { missingWaypoint, type WorkloadWaypoint } from './workload-parts.ts'

/** What the finder looks at. */
export interface TargetWorld {
  readonly waypoints: Waypoints
  readonly services: ServicesResult
  readonly slices: readonly SliceMember[]
  readonly podsOf: (namespace: string) => readonly ConfigObject[]
  readonly entriesOf: (
    namespace: string,
  ) => readonly { readonly object: ConfigObject; readonly labels: Labels }[]
  /** Of every workload that asks for one. */
  readonly workloadWaypoints: () => Iterable<WorkloadWaypoint>
  readonly rootNamespace: string
}

/** Answers for one translation. Only policies with targets pay for it. */
export function targetFinder(world: TargetWorld): FindTarget {
  const { services, waypoints } = world
  const described = (infos: readonly ServiceInfo[]): TargetedService[] =>
    infos.map((info) => ({
      key: info.key,
      isBound: isBound(info, services),
      ports: targetPorts(info, world),
    }))
  const ofServices = (infos: readonly ServiceInfo[] | undefined): FoundTarget | undefined =>
    infos === undefined
      ? undefined
      : { services: described(infos), waypoints: waypointsOf(infos, services), missing: [], deciders: [] }
  let users: ReadonlyMap<string, Users> | null = null
  const behind = (groups: readonly Users[], names = groups.map(({ name }) => name)): FoundTarget => {
    const deciders = new Set(groups.flatMap(({ name }) => waypoints.identitiesOf(name)))
    const missing = new Set(
      groups.flatMap((group) => group.workloads.flatMap((each) => missingWaypoint(each) ?? [])),
    )
    return {
      services: described(groups.flatMap((group) => group.services)),
      waypoints: names.map(waypointKey).toSorted(),
      missing: [...missing].toSorted(),
      deciders: [...deciders].toSorted(),
    }
  }
  const find: FindTarget = ({ kind, name }, namespace) => {
    switch (kind) {
      case 'Service': {
        const info = services.byName.get(`${namespace}/${name}`)
        return ofServices(info === undefined ? undefined : [info])
      }
      case 'ServiceEntry':
        return ofServices(services.entries.get(`${namespace}/${name}`)?.infos)
      case 'Gateway': {
        users ??= usersOf(world)
        const own = users.get(waypointKey({ namespace, name }))
        const isKnown = own !== undefined || waypoints.gateway({ namespace, name }) !== undefined
        return isKnown ? behind(own === undefined ? [] : [own], [{ namespace, name }]) : undefined
      }
      case 'GatewayClass': {
        // SPEC HBONE §9.4: only in the root namespace, and Istio's own class is every waypoint.
        if (namespace !== world.rootNamespace) return undefined
        users ??= usersOf(world)
        return behind(
          [...users.values()].filter(
            (each) => name === ISTIO_WAYPOINT_CLASS || waypoints.mayBeOf(each.name, name),
          ),
        )
      }
    }
  }
  const known = new Map<string, FoundTarget | undefined>()
  return (target, namespace) => {
    const { kind } = target
    // All classes that no waypoint is of are the same one.
    const name = kind === 'GatewayClass' && !waypoints.hasClass(target.name) ? NO_CLASS : target.name
    const key = `${kind} ${namespace}/${name}`
    if (!known.has(key)) known.set(key, find({ ...target, name }, namespace))
    return known.get(key)
  }
}

const NO_CLASS = ''

/** Who asks for one waypoint. */
interface Users {
  readonly name: WaypointName
  readonly services: ServiceInfo[]
  readonly workloads: WorkloadWaypoint[]
}

/** By waypoint, `<namespace>/<name>`. */
function usersOf({ services, workloadWaypoints }: TargetWorld): ReadonlyMap<string, Users> {
  const all = new Map<string, Users>()
  const of = (name: WaypointName): Users => {
    const key = waypointKey(name)
    const known = all.get(key) ?? { name, services: [], workloads: [] }
    all.set(key, known)
    return known
  }
  for (const [info, { request, primary }] of services.waypoints)
    if (request !== null && isMeantFor(request, primary)) of(request.primary).services.push(info)
  for (const each of workloadWaypoints()) of(each.request.primary).workloads.push(each)
  return all
}

function waypointsOf(infos: readonly ServiceInfo[], { waypoints }: ServicesResult): string[] {
  return infos.flatMap((info) => boundWaypoints(waypoints.get(info)).map(waypointKey)).toSorted()
}

function isBound(info: ServiceInfo, { waypoints }: ServicesResult): boolean {
  const binding = waypoints.get(info)?.primary ?? null
  return binding !== null && binding.address !== null
}

/** Every port of a workload that the service may send to. */
function targetPorts(info: ServiceInfo, world: TargetWorld): number[] {
  const ports = new Set<number>()
  for (const { targetPort } of info.ports) if (typeof targetPort === 'number') ports.add(targetPort)
  for (const member of world.slices) {
    if (member.info === info) for (const { targetPort } of member.ports) ports.add(targetPort)
  }
  const { selector, namespace } = info
  if (selector !== null) {
    const named = info.ports.flatMap(({ targetPort }) => (typeof targetPort === 'string' ? [targetPort] : []))
    for (const pod of named.length === 0 ? [] : world.podsOf(namespace)) {
      if (!selects(selector, pod.metadata.labels)) continue
      const own = namedPortsOf(pod)
      for (const name of named) ports.add(own.get(name) ?? 0)
    }
    for (const { object, labels } of world.entriesOf(namespace)) {
      if (!selects(selector, labels)) continue
      const own = readPortMap(new Fields(object.spec, 'spec', new Notes(object)), MAX_PORT)
      for (const { name, targetPort } of info.ports)
        ports.add(own.get(name) ?? own.get(String(targetPort)) ?? 0)
    }
  }
  ports.delete(0)
  return [...ports].toSorted((left, right) => left - right)
}
