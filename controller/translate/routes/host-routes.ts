// SPDX-License-Identifier: Apache-2.0
// Routes that are said of hosts: which services those are, the nearest word first.
import { type ConfigObject, kindKey } from '../../watch/config-object.ts'
import { compareAge } from '../age.ts'
import { Memo } from '../memo.ts'
import { Notes } from '../notes.ts'
import type { ServiceInfo } from '../service-info.ts'
import type { ConfigFinding } from '../translation.ts'
import type { HostIndex } from './backend-finder.ts'
import type { Claim, Outcome } from './claims.ts'
import { RecordedParts } from './recorded-parts.ts'
import { waypointOf } from './route-parents.ts'
import type { FindBackend } from './route-part.ts'
import type { RouteWorld } from './route-stage.ts'
import { type HostPart, readTrafficSplit, readVirtualService } from './virtual-service.ts'

const KINDS = [
  [kindKey('networking.istio.io', 'VirtualService'), readVirtualService],
  [kindKey('split.smi-spec.io', 'TrafficSplit'), readTrafficSplit],
] as const

/** A host that names many: `*.x`, or `*` for all. */
export function isWildcard(host: string): boolean {
  return host === '*' || host.startsWith('*.')
}

/** The wildcards that a host is of, the nearest first. */
export function wildcardsOf(hostname: string): string[] {
  const labels = hostname.split('.')
  return [...labels.slice(1).map((_, index) => `*.${labels.slice(index + 1).join('.')}`), '*']
}

/** One object, with what it claims. */
export interface HostRoute {
  readonly part: HostPart
  readonly claims: readonly Claim[]
  /** It names a service that has no waypoint. */
  readonly isUnserved: boolean
}

export class HostRoutes {
  readonly #parts = KINDS.map(() => new RecordedParts<HostPart>())
  readonly #claims = new Memo<Claim>()

  /** Adds the claims of all, after those that are there, the nearest host first and then the oldest object. */
  attach(world: RouteWorld, claims: Map<ServiceInfo, Claim[]>): readonly HostRoute[] {
    for (const memo of [...this.#parts, this.#claims]) memo.sweep()
    return KINDS.flatMap(([kind, read], index) => {
      const parts = byAge(world.view.list(kind)).map((object) => {
        const find = findByHost(world.hosts)
        const part = this.#parts[index]?.get(object, find, (recorded) => read(object, recorded))
        if (part === undefined) throw new Error('a kind without memory')
        return part
      })
      const users = serviceUsers(parts, world)
      const own = new Map<HostPart, Claim[]>()
      for (const [info, ranked] of users.byService) {
        // Who is named by one rule has a list of its own, in which the rules for everybody stand too.
        const named = new Set(ranked.flatMap(({ consumers }) => consumers ?? []))
        for (const part of ranked)
          for (const consumer of part.consumers ?? ['', ...named])
            this.#claim(part, info, consumer, claims, own)
      }
      return parts.map((part) => ({
        part,
        claims: own.get(part) ?? [],
        isUnserved: users.unserved.has(part),
      }))
    })
  }

  #claim(
    part: HostPart,
    info: ServiceInfo,
    consumer: string,
    claims: Map<ServiceInfo, Claim[]>,
    own: Map<HostPart, Claim[]>,
  ): void {
    const { namespace, name } = part.object.metadata
    const key = `${part.family} ${namespace}/${name} ${info.key} ${consumer}`
    const claim = this.#claims.get(key, [part], () => ({ family: part.family, part, consumer, port: 0 }))
    for (const [map, at] of [
      [claims, info],
      [own, part],
    ] as const) {
      // as: each key is one of its map
      const list = (map as Map<unknown, Claim[]>).get(at)
      if (list === undefined) (map as Map<unknown, Claim[]>).set(at, [claim])
      else list.push(claim)
    }
  }
}

function byAge(objects: readonly ConfigObject[]): ConfigObject[] {
  return objects
    .map((object) => ({
      object,
      key: `${object.metadata.namespace}/${object.metadata.name}`,
      createdMs: object.metadata.createdMs,
    }))
    .toSorted(compareAge)
    .map(({ object }) => object)
}

function findByHost(hosts: HostIndex): FindBackend {
  return (ask) => hosts.find(ask.name, ask.namespace) ?? 'missing'
}

interface ServiceUsers {
  readonly byService: ReadonlyMap<ServiceInfo, readonly HostPart[]>
  readonly unserved: ReadonlySet<HostPart>
}

/** Of every service with a waypoint, who speaks of its host. Cost: hosts + services times their labels. */
function serviceUsers(parts: readonly HostPart[], { services, hosts }: RouteWorld): ServiceUsers {
  const exact = new Map<ServiceInfo, HostPart[]>()
  const wide = new Map<string, HostPart[]>()
  const unserved = new Set<HostPart>()
  for (const part of parts)
    for (const host of new Set(part.hosts)) {
      const found = hosts.findAll(host, part.object.metadata.namespace)
      if (found.length === 0 && isWildcard(host)) push(wide, host.toLowerCase(), part)
      for (const info of found) {
        if (waypointOf(info, services) !== null) push(exact, info, part)
        else unserved.add(part)
      }
    }
  const byService = new Map<ServiceInfo, readonly HostPart[]>()
  for (const info of services.waypoints.keys()) {
    const near = exact.get(info) ?? []
    if (wide.size === 0 && near.length === 0) continue
    const far = wide.size === 0 ? [] : wildcardsOf(info.hostname).flatMap((host) => wide.get(host) ?? [])
    if (near.length + far.length === 0 || waypointOf(info, services) === null) continue
    byService.set(info, [...new Set([...near, ...far])])
  }
  return { byService, unserved }
}

function push<K>(map: Map<K, HostPart[]>, key: K, part: HostPart): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [part])
  else list.push(part)
}

/** What of it did not come to anything. */
export function hostFindings(
  { part, claims, isUnserved }: HostRoute,
  outcomes: ReadonlyMap<Claim, Outcome>,
): readonly ConfigFinding[] {
  const notes = new Notes(part.object)
  const path = part.family === 'TrafficSplit' ? 'spec.service' : 'spec.hosts'
  const reached = new Set(claims.map((claim) => outcomes.get(claim) ?? 'protocol'))
  if (claims.length === 0 && part.hosts.length > 0) {
    if (isUnserved) {
      const message = 'no service of these hosts has a waypoint: their traffic is not routed'
      notes.add('ROUTE_NEEDS_WAYPOINT', path, message, 'annotate them with sidestep.dev/waypoint: auto')
    } else notes.add('ROUTE_NOT_ATTACHED', path, 'there is no service of these hosts', 'mend the hosts')
  } else if (reached.has('conflict') && !reached.has('counts')) {
    const message = 'other routes have the traffic of these hosts'
    notes.add('ROUTE_CONFLICT', path, message, 'merge them, or remove one')
  } else if (claims.length > 0 && !reached.has('counts')) {
    const message = 'no port of these hosts speaks what its rules are for'
    notes.add('ROUTE_NOT_ATTACHED', path, message, 'mend appProtocol of the ports, or write http, tls or tcp')
  }
  return notes.findings
}
