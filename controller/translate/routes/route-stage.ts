// SPDX-License-Identifier: Apache-2.0
// All routes of the mesh: reads each, finds the services it is for, and makes one resource per service that has any.
import { equals } from '@bufbuild/protobuf'
import { type ServiceRoutes, ServiceRoutesSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import { type ConfigView, kindKey, refOf } from '../../watch/config-object.ts'
import { compareAge } from '../age.ts'
import { Memo } from '../memo.ts'
import { Notes } from '../notes.ts'
import type { ServiceInfo } from '../service-info.ts'
import type { ServicesResult } from '../service-stage.ts'
import type { ConfigFinding } from '../translation.ts'
import type { Waypoints } from '../waypoints.ts'
import { backendFinder, Grants, type HostIndex } from './backend-finder.ts'
import type { Claim, Outcome } from './claims.ts'
import { type GatewayRoutePart, type ParentRef, ROUTE_KINDS, readGatewayRoute } from './gateway-route.ts'
import { HostRoutes, hostFindings } from './host-routes.ts'
import { RecordedParts } from './recorded-parts.ts'
import { type FoundParent, findParent } from './route-parents.ts'
import type { AcceptedReason, RouteParentState, RouteState } from './route-state.ts'
import { MAX_SERVICE_MATCHES, type ServiceResult, serviceRoutes } from './service-routes.ts'

const GATEWAY_GROUP = 'gateway.networking.k8s.io'

/** The routes of one translation. */
export interface RoutesResult {
  /** By `<namespace>/<hostname>`. */
  readonly messages: ReadonlyMap<string, ServiceRoutes>
  /** The same: services that the routes of each send to, in order. */
  readonly backends: ReadonlyMap<string, readonly string[]>
  readonly findings: readonly ConfigFinding[]
  readonly states: readonly RouteState[]
}

/** What routes are read against. */
export interface RouteWorld {
  readonly view: ConfigView
  readonly services: ServicesResult
  readonly waypoints: Waypoints
  readonly hosts: HostIndex
}

/** A route at one of its parents. */
interface Attachment {
  readonly part: GatewayRoutePart
  readonly parent: ParentRef
  readonly found: FoundParent
  readonly claims: readonly Claim[]
}

export class RouteStage {
  readonly #parts = new Map(ROUTE_KINDS.map((kind) => [kind, new RecordedParts<GatewayRoutePart>()]))
  readonly #claims = new Memo<Claim>()
  readonly #hosts = new HostRoutes()
  readonly #results = new Memo<ServiceResult>(keepEqualMessage)

  run(world: RouteWorld): RoutesResult {
    for (const memo of [...this.#parts.values(), this.#claims, this.#results]) memo.sweep()
    const findings: ConfigFinding[] = []
    const claims = new Map<ServiceInfo, Claim[]>()
    const attachments = this.#attach(world, claims, findings)
    const hostRoutes = this.#hosts.attach(world, claims)
    const messages = new Map<string, ServiceRoutes>()
    const backends = new Map<string, readonly string[]>()
    const outcomes = new Map<Claim, Outcome>()
    for (const [info, own] of claims) {
      const result = this.#results.get(info.key, [info, ...own], () => serviceRoutes(info, own))
      for (const [claim, outcome] of result.outcomes) outcomes.set(claim, outcome)
      if (result.closedPorts.length > 0) append(findings, tooMany(info, result.closedPorts))
      if (result.message === null) continue
      messages.set(info.key, result.message)
      backends.set(info.key, [...new Set(own.flatMap(({ part }) => part.backends))].toSorted())
    }
    for (const route of hostRoutes) {
      append(findings, route.part.findings)
      append(findings, hostFindings(route, outcomes))
    }
    const states = statesOf(attachments, outcomes, findings)
    return { messages, backends, findings, states }
  }

  /** Routes of the Gateway API, the oldest first, so that claims stand in that order. */
  #attach(
    world: RouteWorld,
    claims: Map<ServiceInfo, Claim[]>,
    findings: ConfigFinding[],
  ): readonly (readonly Attachment[])[] {
    const grants = new Grants(world.view)
    return ROUTE_KINDS.flatMap((kind) => {
      const objects = world.view.list(kindKey(GATEWAY_GROUP, kind)).map((object) => ({
        object,
        key: `${object.metadata.namespace}/${object.metadata.name}`,
        createdMs: object.metadata.createdMs,
      }))
      return objects.toSorted(compareAge).map(({ object }) => {
        const find = backendFinder(kind, object.metadata.namespace, world.services, world.hosts, grants)
        const part = this.#parts
          .get(kind)
          ?.get(object, find, (recorded) => readGatewayRoute(object, kind, recorded))
        if (part === undefined) return []
        append(findings, part.findings)
        return part.parents.flatMap((parent, index) => {
          const found = findParent(parent, world)
          if (found === null) return []
          return [{ part, parent, found, claims: this.#claim(part, index, found, claims) }]
        })
      })
    })
  }

  #claim(
    part: GatewayRoutePart,
    index: number,
    { services }: FoundParent,
    claims: Map<ServiceInfo, Claim[]>,
  ): Claim[] {
    const { namespace, name } = part.object.metadata
    return services.map(({ info, port }) => {
      // SPEC GATEWAY-API GEP-1426: a route beside its Service is for all, any other for the callers beside itself.
      const consumer = namespace === info.namespace ? '' : namespace
      const claim = this.#claims.get(
        `${part.kind} ${namespace}/${name} ${index} ${info.key}`,
        [part, port, consumer],
        () => ({ family: part.kind, part, consumer, port }),
      )
      const own = claims.get(info)
      if (own === undefined) claims.set(info, [claim])
      else own.push(claim)
      return claim
    })
  }
}

/** Notes what did not come to anything, and says it for the status. */
function statesOf(
  routes: readonly (readonly Attachment[])[],
  outcomes: ReadonlyMap<Claim, Outcome>,
  findings: ConfigFinding[],
): RouteState[] {
  return routes.flatMap((attachments) => {
    const [first] = attachments
    if (first === undefined) return []
    const { object, refused, badRef } = first.part
    const notes = new Notes(object)
    const parents: RouteParentState[] = []
    for (const attachment of attachments) {
      const { reason, message } = decide(attachment, outcomes, notes)
      if (attachment.found.isOurs) parents.push({ ref: attachment.parent.raw, reason, message })
    }
    append(findings, notes.findings)
    if (parents.length === 0) return []
    const told =
      refused.count === 0 ? null : `${refused.count} of ${refused.of} rules answer 500: ${refused.first}`
    const { generation } = object.metadata
    return [{ object: refOf(object), generation, parents, badRef, refused: told }]
  })
}

interface Decision {
  readonly reason: AcceptedReason
  readonly message: string
}

function decide(
  { part, parent, found, claims }: Attachment,
  outcomes: ReadonlyMap<Claim, Outcome>,
  notes: Notes,
): Decision {
  if (found.problem !== null) {
    const { code, reason, message, fix } = found.problem
    notes.add(code, parent.path, message, fix)
    return { reason, message }
  }
  const best = claims.map((claim) => outcomes.get(claim) ?? 'protocol')
  const called = `${parent.namespace}/${parent.name}`
  if (best.includes('counts')) {
    const { count, of, first } = part.refused
    if (count > 0 && count === of)
      return { reason: 'UnsupportedValue', message: `every rule answers 500: ${first}` }
    return { reason: 'Accepted', message: `the waypoint of ${called} has it` }
  }
  if (best.includes('conflict')) {
    const message = `routes of a more specific kind have the ports of ${called}`
    notes.add('ROUTE_CONFLICT', parent.path, message, 'name a port of its own, or remove one of them')
    return { reason: 'Conflicted', message }
  }
  const message = `no port of ${called} that it names speaks what a ${part.kind} is for`
  notes.add('ROUTE_NOT_ATTACHED', parent.path, message, 'mend appProtocol of the port, or use another kind')
  return { reason: 'UnsupportedProtocol', message }
}

function tooMany({ object, hostname }: ServiceInfo, ports: readonly number[]): readonly ConfigFinding[] {
  const notes = new Notes(object)
  const message = `${hostname} has more than ${MAX_SERVICE_MATCHES} matches; ports ${ports.join(', ')} are closed`
  notes.add('ROUTE_TOO_MANY', '', message, 'write fewer routes, or for fewer ports')
  return notes.findings
}

function keepEqualMessage(old: ServiceResult, fresh: ServiceResult): ServiceResult {
  const isSame =
    old.message !== null && fresh.message !== null && equals(ServiceRoutesSchema, old.message, fresh.message)
  return isSame ? { ...fresh, message: old.message } : fresh
}

function append<T>(list: T[], more: readonly T[]): void {
  for (const each of more) list.push(each)
}
