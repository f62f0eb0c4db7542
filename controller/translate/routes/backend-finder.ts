// SPDX-License-Identifier: Apache-2.0
// Finds the services that routes send to: by name, where a ReferenceGrant may be needed, or by host.
// SPEC GATEWAY-API ReferenceGrant; ISTIO-API Destination.host.
import { type ConfigView, kindKey } from '../../watch/config-object.ts'
import { Fields } from '../fields.ts'
import { Notes } from '../notes.ts'
import type { ServiceInfo } from '../service-info.ts'
import type { ServicesResult } from '../service-stage.ts'
import { grantKey } from './gateway-backends.ts'
import type { FindBackend } from './route-part.ts'

const REFERENCE_GRANT = kindKey('gateway.networking.k8s.io', 'ReferenceGrant')

/** Services of one translation by host. */
export interface HostIndex {
  /** What a host means that somebody in that namespace writes; undefined: nothing. */
  find(host: string, namespace: string): ServiceInfo | undefined
  /** Every service of that host, in order. */
  findAll(host: string, namespace: string): readonly ServiceInfo[]
}

/** All services; of one host, that of the same namespace comes first, else the first by its key. */
export function hostIndex({ byName, entries }: ServicesResult, clusterDomain: string): HostIndex {
  const byHost = new Map<string, ServiceInfo[]>()
  const all = [...byName.values(), ...[...entries.values()].flatMap(({ infos }) => infos)]
  for (const info of all) {
    const list = byHost.get(info.hostname)
    if (list === undefined) byHost.set(info.hostname, [info])
    else list.push(info)
  }
  for (const list of byHost.values()) list.sort(byKey)
  const findAll = (host: string, namespace: string): readonly ServiceInfo[] => {
    const name = fullNames(host, namespace, clusterDomain).find((each) => byHost.has(each))
    return (name === undefined ? undefined : byHost.get(name)) ?? []
  }
  const find = (host: string, namespace: string): ServiceInfo | undefined => {
    const found = findAll(host, namespace)
    return found.find((info) => info.namespace === namespace) ?? found[0]
  }
  return { find, findAll }
}

/** A host as its author may have meant it; the first that exists is it. SPEC ISTIO-API: a short name is of the namespace. */
export function fullNames(host: string, namespace: string, clusterDomain: string): string[] {
  const name = host.toLowerCase()
  if (!name.includes('.')) return [`${name}.${namespace}.svc.${clusterDomain}`, name]
  return [name, `${name}.svc.${clusterDomain}`, `${name}.${clusterDomain}`]
}

/** Answers for routes of one kind. */
export function backendFinder(
  kind: string,
  home: string,
  services: ServicesResult,
  hosts: HostIndex,
  grants: Grants,
): FindBackend {
  return (ask) => {
    if (ask.by === 'host') return hosts.find(ask.name, ask.namespace) ?? 'missing'
    const { namespace, name, isParent } = ask
    // SPEC GATEWAY-API GEP-1294: a grant is for what is not in reach without it. Whoever a route of callers is for asks for its
    // Service anyhow.
    const isInReach = namespace === home || isParent
    // Whether it exists is told only to who may use it.
    if (!isInReach && !grants.allows(kind, home, namespace, name)) return 'forbidden'
    return services.byName.get(`${namespace}/${name}`) ?? 'missing'
  }
}

/** Who may refer to Services of other namespaces. */
export class Grants {
  /** By namespace and grantKey(): names of Services; null: all. */
  readonly #byNamespace = new Map<string, Map<string, Set<string> | null>>()

  constructor(view: ConfigView) {
    for (const grant of view.list(REFERENCE_GRANT)) {
      // What cannot be read grants nothing; its mistakes are told by the schema.
      const spec = new Fields(grant.spec, 'spec', new Notes(grant))
      const names = namesOf(spec)
      if (names !== null && names.size === 0) continue
      for (const from of spec.items('from')) {
        if (from.text('group') !== 'gateway.networking.k8s.io') continue
        this.#add(grant.metadata.namespace, grantKey(from.text('kind'), from.text('namespace')), names)
      }
    }
  }

  allows(kind: string, from: string, to: string, service: string): boolean {
    const names = this.#byNamespace.get(to)?.get(grantKey(kind, from))
    return names === null || names?.has(service) === true
  }

  #add(namespace: string, key: string, names: ReadonlySet<string> | null): void {
    const known = this.#byNamespace.get(namespace) ?? new Map<string, Set<string> | null>()
    this.#byNamespace.set(namespace, known)
    const before = known.get(key)
    known.set(key, names === null || before === null ? null : new Set([...(before ?? []), ...names]))
  }
}

function namesOf(spec: Fields): ReadonlySet<string> | null {
  const names = new Set<string>()
  for (const to of spec.items('to')) {
    if (to.text('kind') !== 'Service' || !['', 'core'].includes(to.text('group'))) continue
    const name: unknown = to.raw('name')
    if (name === undefined) return null
    if (typeof name === 'string') names.add(name)
  }
  return names
}

function byKey(left: ServiceInfo, right: ServiceInfo): number {
  return left.key < right.key ? -1 : 1
}
