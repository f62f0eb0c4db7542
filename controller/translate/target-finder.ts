// SPDX-License-Identifier: Apache-2.0
// Finds the services that a policy with targetRefs is about, with the ports of their workloads.
import { type ConfigObject, type ConfigView, kindKey } from '../watch/config-object.ts'
import { readPortMap } from './endpoint-address.ts'
import type { SliceMember } from './endpoint-slices.ts'
import { Fields } from './fields.ts'
import { Notes } from './notes.ts'
import { namedPortsOf } from './pods.ts'
import type { FindTarget, TargetedService } from './policy-targets.ts'
import { type Labels, selects } from './selectors.ts'
import { MAX_PORT, type ServiceInfo } from './service-info.ts'
import type { ServicesResult } from './service-stage.ts'

/** What the finder looks at. */
export interface TargetWorld {
  readonly view: ConfigView
  readonly services: ServicesResult
  readonly slices: readonly SliceMember[]
  readonly podsOf: (namespace: string) => readonly ConfigObject[]
  readonly entriesOf: (
    namespace: string,
  ) => readonly { readonly object: ConfigObject; readonly labels: Labels }[]
  readonly rootNamespace: string
}

/** Answers for one translation. Only policies with targets pay for it. */
export function targetFinder(world: TargetWorld): FindTarget {
  const { services, view } = world
  const described = (infos: readonly ServiceInfo[]): TargetedService[] =>
    infos.map((info) => ({
      key: info.key,
      isBound: isBound(info, services),
      ports: targetPorts(info, world),
    }))
  const wanting = (test: (namespace: string, name: string) => boolean): ServiceInfo[] =>
    [...services.waypoints].flatMap(([info, { request }]) =>
      request !== null && test(request.primary.namespace, request.primary.name) ? [info] : [],
    )
  return ({ kind, name }, namespace) => {
    switch (kind) {
      case 'Service': {
        const info = services.byName.get(`${namespace}/${name}`)
        return info === undefined ? undefined : described([info])
      }
      case 'ServiceEntry': {
        const entry = services.entries.get(`${namespace}/${name}`)
        return entry === undefined ? undefined : described(entry.infos)
      }
      case 'Gateway': {
        const users = wanting((itsNamespace, itsName) => itsNamespace === namespace && itsName === name)
        const exists =
          view.get(kindKey('gateway.networking.k8s.io', 'Gateway'), namespace, name) !== undefined
        return users.length > 0 || exists ? described(users) : undefined
      }
      case 'GatewayClass':
        // SPEC HBONE §9.4: only in the root namespace, and for every waypoint.
        return namespace === world.rootNamespace ? described(wanting(() => true)) : undefined
    }
  }
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
