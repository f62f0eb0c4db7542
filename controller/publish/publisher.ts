// SPDX-License-Identifier: Apache-2.0
// From translations to what clients are told: finds what changed, encodes it once, answers the sessions. No I/O.
import { create, toBinary } from '@bufbuild/protobuf'
import {
  ADDRESS_TYPE,
  AUTHORIZATION_TYPE,
  DIVERTS_METADATA,
  REQUEST_POLICIES_TYPE,
  REQUEST_TELEMETRY_TYPE,
  REVOCATIONS_NAME,
  REVOCATIONS_TYPE,
  SERVICE_ROUTES_TYPE,
  TRAFFIC_POLICY_TYPE,
} from '../../mesh/discovery/protocol.ts'
import { isDiverting } from '../../mesh/model/reserved-policy.ts'
import type { DeltaDiscoveryRequest } from '../../proto/generated/envoy/discovery_pb.js'
import {
  Action,
  type Authorization,
  AuthorizationSchema,
} from '../../proto/generated/istio/authorization_pb.js'
import {
  type Address,
  AddressSchema,
  type Service,
  type Workload,
} from '../../proto/generated/istio/workload_pb.js'
import {
  type RequestPolicies,
  RequestPoliciesSchema,
} from '../../proto/generated/sidestep/v1/request_policies_pb.js'
import { RevocationsSchema } from '../../proto/generated/sidestep/v1/revocations_pb.js'
import { type ServiceRoutes, ServiceRoutesSchema } from '../../proto/generated/sidestep/v1/routes_pb.js'
import {
  type RequestTelemetry,
  RequestTelemetrySchema,
} from '../../proto/generated/sidestep/v1/telemetry_pb.js'
import {
  type TrafficPolicy,
  TrafficPolicySchema,
} from '../../proto/generated/sidestep/v1/traffic_policy_pb.js'
import type { WaypointScope } from '../translate/translation.ts'
import { AddressNames, serviceAliases, workloadAliases } from './address-names.ts'
import type { Refusal, SessionSource } from './delta-session.ts'
import { NodeScopes } from './node-scopes.ts'
import {
  type PublishedResource,
  publishedResource,
  type ResourceContent,
  ResourceLog,
} from './resource-log.ts'
import {
  NamedSubscription,
  type NameResolver,
  type Subscription,
  WildcardSubscription,
} from './subscription.ts'

/** What is published: the part of a translation that clients see. */
export interface Published {
  readonly workloads: ReadonlyMap<string, Workload>
  readonly services: ReadonlyMap<string, Service>
  readonly authorizations: ReadonlyMap<string, Authorization>
  readonly routes: ReadonlyMap<string, ServiceRoutes>
  readonly trafficPolicies: ReadonlyMap<string, TrafficPolicy>
  readonly requestPolicies: ReadonlyMap<string, RequestPolicies>
  readonly requestTelemetry: ReadonlyMap<string, RequestTelemetry>
  /** By `<namespace>/<service account>`. */
  readonly waypointScopes: ReadonlyMap<string, WaypointScope>
}

/** Whom a source is for. */
export interface SourceCaller {
  /** null: a client that belongs to no node. */
  readonly node: string | null
  /** `<namespace>/<service account>` of all that it may be. */
  readonly accounts: readonly string[]
}

const NOTHING: Published = {
  workloads: new Map(),
  services: new Map(),
  authorizations: new Map(),
  routes: new Map(),
  trafficPolicies: new Map(),
  requestPolicies: new Map(),
  requestTelemetry: new Map(),
  waypointScopes: new Map(),
}
/** Whatever a client asks for by name, it is told what concerns it and nothing else. */
const SCOPE_ONLY: NameResolver = { resolve: (key, always) => (always.has(key) ? [key] : []) }
const ITSELF: NameResolver = { resolve: (key) => [key] }
/** What is published beside Istio's types. */
const OWN_TYPES = [REVOCATIONS_TYPE]
const WILDCARD = '*'

/** Resources of our own: everything of a family goes to every node that asks for it. */
type Family = ReadonlyMap<string, Uint8Array>

export class Publisher {
  readonly addresses = new ResourceLog(ADDRESS_TYPE)
  readonly authorizations = new ResourceLog(AUTHORIZATION_TYPE)
  readonly #families: ReadonlyMap<string, ResourceLog> = new Map(
    OWN_TYPES.map((typeUrl) => [typeUrl, new ResourceLog(typeUrl)]),
  )
  readonly #scopes = new NodeScopes()
  readonly #routes = new ResourceLog(SERVICE_ROUTES_TYPE)
  readonly #trafficPolicies = new ResourceLog(TRAFFIC_POLICY_TYPE)
  readonly #requestPolicies = new ResourceLog(REQUEST_POLICIES_TYPE)
  readonly #requestTelemetry = new ResourceLog(REQUEST_TELEMETRY_TYPE)
  /** Grows with every publication that changed what waypoints are told. */
  #waypointRevision = 0
  readonly #names = new AddressNames(NOTHING)
  #published: Published = NOTHING

  /** Publishes the difference to what was published before. True when there was one. */
  publish(next: Published): boolean {
    const before = this.#published
    this.#published = next
    const workloads = difference(before.workloads, next.workloads, (workload, name) => ({
      name,
      aliases: workloadAliases(workload),
      bytes: encodeAddress({ case: 'workload', value: workload }),
    }))
    const services = difference(before.services, next.services, (service, name) => ({
      name,
      aliases: serviceAliases(service),
      bytes: encodeAddress({ case: 'service', value: service }),
    }))
    const policies = difference(before.authorizations, next.authorizations, (policy, name) => ({
      name,
      aliases: [],
      bytes: toBinary(AuthorizationSchema, policy),
    }))
    const hasPolicies = this.authorizations.update(policies.changed, policies.removed)
    const hasAddresses = this.addresses.update(
      [...workloads.changed, ...services.changed],
      [...workloads.removed, ...services.removed],
    )
    if (hasPolicies) this.#scopes.updatePolicies(next.authorizations)
    if (hasAddresses) {
      this.#names.update(next)
      this.#scopes.updateWorkloads(next.workloads.values())
    }
    const hasRoutes = this.#publishRoutes(before, next)
    return hasPolicies || hasAddresses || hasRoutes
  }

  #publishRoutes(before: Published, next: Published): boolean {
    const routes = difference(before.routes, next.routes, (each, name) => ({
      name,
      aliases: [],
      bytes: toBinary(ServiceRoutesSchema, each),
    }))
    const policies = difference(before.trafficPolicies, next.trafficPolicies, (each, name) => ({
      name,
      aliases: [],
      bytes: toBinary(TrafficPolicySchema, each),
    }))
    const requests = difference(before.requestPolicies, next.requestPolicies, (each, name) => ({
      name,
      aliases: [],
      bytes: toBinary(RequestPoliciesSchema, each),
    }))
    const telemetry = difference(before.requestTelemetry, next.requestTelemetry, (each, name) => ({
      name,
      aliases: [],
      bytes: toBinary(RequestTelemetrySchema, each),
    }))
    const hasTelemetry = this.#requestTelemetry.update(telemetry.changed, telemetry.removed)
    const hasRoutes = this.#routes.update(routes.changed, routes.removed)
    const hasRequests = this.#requestPolicies.update(requests.changed, requests.removed)
    const hasPolicies = this.#trafficPolicies.update(policies.changed, policies.removed)
    const hasScopes = !isSameScopes(before.waypointScopes, next.waypointScopes)
    if (!hasRoutes && !hasPolicies && !hasRequests && !hasTelemetry && !hasScopes) return false
    this.#waypointRevision++
    return true
  }

  /**
   * Publishes the revocation lists of the trust domain: PEM, one after another, or one in DER; null: there are none. Nodes
   * that ask for them wait until this was called. True when something changed.
   */
  publishRevocations(crl: Uint8Array | null): boolean {
    const family: Family =
      crl === null
        ? new Map()
        : new Map([[REVOCATIONS_NAME, toBinary(RevocationsSchema, create(RevocationsSchema, { crl }))]])
    return this.#publishFamily(REVOCATIONS_TYPE, family)
  }

  #publishFamily(typeUrl: string, family: Family): boolean {
    const log = this.#families.get(typeUrl)
    if (log === undefined) throw new Error(`${typeUrl} is no type of ours`)
    const isFirst = !log.isPublished
    const changed = [...family].map(([name, bytes]) => ({ name, aliases: [], bytes }))
    const removed = [...log.all()].map(({ name }) => name).filter((name) => !family.has(name))
    return log.update(changed, removed) || isFirst
  }

  /** What a session of this client works with. */
  sourceFor(caller: SourceCaller, onRefused: (refusal: Refusal) => void): SessionSource {
    return {
      subscribe: (typeUrl, first) => this.#subscribe(typeUrl, first, caller),
      isReady: (typeUrl) => this.#families.get(typeUrl)?.isPublished ?? true,
      instead: (typeUrl, name) => (typeUrl === AUTHORIZATION_TYPE ? this.#denyAll(name) : null),
      onRefused,
    }
  }

  #subscribe(
    typeUrl: string,
    first: DeltaDiscoveryRequest,
    { node, accounts }: SourceCaller,
  ): Subscription | null {
    const held = new Map(Object.entries(first.initialResourceVersions))
    if (typeUrl === AUTHORIZATION_TYPE) {
      return new NamedSubscription(
        this.authorizations,
        SCOPE_ONLY,
        diverts(first)
          ? () => withoutGuards(this.#scopes.policiesOf(node))
          : () => this.#scopes.policiesOf(node),
        () => this.#scopes.stampOf(node),
        held,
      )
    }
    if (typeUrl === SERVICE_ROUTES_TYPE) return this.#subscribeToScope(this.#routes, accounts, 'served', held)
    if (typeUrl === TRAFFIC_POLICY_TYPE)
      return this.#subscribeToScope(this.#trafficPolicies, accounts, 'used', held)
    if (typeUrl === REQUEST_POLICIES_TYPE)
      return this.#subscribeToScope(this.#requestPolicies, accounts, 'guarded', held)
    if (typeUrl === REQUEST_TELEMETRY_TYPE)
      return this.#subscribeToScope(this.#requestTelemetry, accounts, 'guarded', held)
    const family = this.#families.get(typeUrl)
    if (family !== undefined) return subscribeToFamily(family, first, held)
    if (typeUrl !== ADDRESS_TYPE) return null
    if (isWildcard(first)) return new WildcardSubscription(this.addresses, held)
    const subscription = new NamedSubscription(
      this.addresses,
      this.#names,
      () => (node === null ? [] : this.#names.ofNode(node)),
      () => this.addresses.sequence,
      held,
    )
    subscription.subscribe(namesOf(first))
    return subscription
  }

  /** All that concerns a waypoint, whatever it asks for; nothing for everybody else. */
  #subscribeToScope(
    log: ResourceLog,
    accounts: readonly string[],
    part: keyof WaypointScope,
    held: ReadonlyMap<string, string>,
  ): Subscription {
    return new NamedSubscription(
      log,
      SCOPE_ONLY,
      () => [...new Set(accounts.flatMap((each) => this.#published.waypointScopes.get(each)?.[part] ?? []))],
      () => this.#waypointRevision,
      held,
    )
  }

  /** A client that cannot read a policy and has no earlier one refuses what the policy covers. */
  #denyAll(name: string): PublishedResource | null {
    const policy = this.#published.authorizations.get(name)
    if (policy === undefined) return null
    const { namespace, scope, dryRun } = policy
    if (dryRun) return null
    const denial = create(AuthorizationSchema, {
      name: policy.name,
      namespace,
      scope,
      action: Action.DENY,
      rules: [{ clauses: [] }],
    })
    return publishedResource(AUTHORIZATION_TYPE, {
      name,
      aliases: [],
      bytes: toBinary(AuthorizationSchema, denial),
    })
  }
}

function isSameScopes(left: Published['waypointScopes'], right: Published['waypointScopes']): boolean {
  if (left === right) return true
  const isSame = (before: readonly string[] = [], after: readonly string[] = []): boolean =>
    before.length === after.length && before.every((key, index) => key === after[index])
  return (
    left.size === right.size &&
    [...right].every(([account, { served, used, guarded }]) => {
      const before = left.get(account)
      return isSame(before?.served, served) && isSame(before?.used, used) && isSame(before?.guarded, guarded)
    })
  )
}

function subscribeToFamily(
  log: ResourceLog,
  first: DeltaDiscoveryRequest,
  held: ReadonlyMap<string, string>,
): Subscription {
  if (isWildcard(first)) return new WildcardSubscription(log, held)
  const subscription = new NamedSubscription(
    log,
    ITSELF,
    () => [],
    () => log.sequence,
    held,
  )
  subscription.subscribe(namesOf(first))
  return subscription
}

function namesOf({ resourceNamesSubscribe }: DeltaDiscoveryRequest): string[] {
  return resourceNamesSubscribe.filter((name) => name !== WILDCARD)
}

// What a node says of itself takes policies from it and gives it none. Istio's metadata are texts.
function diverts({ node }: DeltaDiscoveryRequest): boolean {
  const value = node?.metadata?.[DIVERTS_METADATA]
  return value === true || value === 'true'
}

function* withoutGuards(names: Iterable<string>): Iterable<string> {
  for (const name of names) if (!isDiverting(name)) yield name
}

// SPEC XDS §1.5: an empty list is "everything", and so is `*` unless it is unsubscribed in the same breath.
function isWildcard({ resourceNamesSubscribe, resourceNamesUnsubscribe }: DeltaDiscoveryRequest): boolean {
  if (resourceNamesUnsubscribe.includes(WILDCARD)) return false
  return resourceNamesSubscribe.length === 0 || resourceNamesSubscribe.includes(WILDCARD)
}

function encodeAddress(type: Exclude<Address['type'], { case: undefined }>): Uint8Array {
  return toBinary(AddressSchema, create(AddressSchema, { type }))
}

function difference<T>(
  before: ReadonlyMap<string, T>,
  next: ReadonlyMap<string, T>,
  encode: (value: T, name: string) => ResourceContent,
): { readonly changed: ResourceContent[]; readonly removed: string[] } {
  const changed: ResourceContent[] = []
  const removed: string[] = []
  for (const [name, value] of next) if (before.get(name) !== value) changed.push(encode(value, name))
  for (const name of before.keys()) if (!next.has(name)) removed.push(name)
  return { changed, removed }
}
