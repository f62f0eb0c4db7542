// SPDX-License-Identifier: Apache-2.0
// What translation makes of the configuration: resources for ztunnels and waypoints, and what is to be said about the rest.
import type { Authorization } from '../../proto/generated/istio/authorization_pb.js'
import type { Service, Workload } from '../../proto/generated/istio/workload_pb.js'
import type { RequestPolicies } from '../../proto/generated/sidestep/v1/request_policies_pb.js'
import type { ServiceRoutes } from '../../proto/generated/sidestep/v1/routes_pb.js'
import type { RequestTelemetry } from '../../proto/generated/sidestep/v1/telemetry_pb.js'
import type { TrafficPolicy } from '../../proto/generated/sidestep/v1/traffic_policy_pb.js'
import type { ObjectOrigin, ObjectRef } from '../watch/config-object.ts'
import type { RouteState } from './routes/route-state.ts'

/** One thing that its author should know. Codes are stable. */
export interface ConfigFinding {
  /** `KIND_NOT_SERVED`, `POLICY_NEEDS_L7` …: the table is finding-codes.ts. */
  readonly code: string
  readonly severity: 'error' | 'warning' | 'info'
  readonly object: ObjectRef
  readonly origin: ObjectOrigin | null
  /** Where in the object; '' is the whole. */
  readonly path: string
  readonly message: string
  /** What to do. */
  readonly fix: string
}

/** What waypoints of one account are told of: services, `<namespace>/<hostname>`, in order. */
export interface WaypointScope {
  /** Whose requests a waypoint has: it needs their routes. */
  readonly served: readonly string[]
  /** Those, and whereto their routes send: it needs their traffic policies. */
  readonly used: readonly string[]
  /** Those that are served, and its own workloads (gatewayTarget): it decides what they are sent. */
  readonly guarded: readonly string[]
}

/** Where a policy is enforced, for its status. */
export interface PolicyEnforcement {
  readonly object: ObjectRef
  /** Of the object as it was translated. */
  readonly generation: number
  /** `exact`: as written. `refused`: what needs layer 7 is denied instead. `nowhere`: see the findings. */
  readonly kind: 'exact' | 'refused' | 'nowhere'
  readonly message: string
  /** `dry-run`: it is only recorded what it would refuse. `unreadable`: refused, because it was not understood. */
  readonly caveat: 'dry-run' | 'unreadable' | null
  /** The workloads whose ztunnels enforce it; null: no ztunnel is named. */
  readonly selects: WorkloadSelection | null
  /** Waypoints that enforce it, `<namespace>/<name>`, in order. */
  readonly waypoints: readonly string[]
}

/** Workloads that a policy is for. */
export interface WorkloadSelection {
  /** null: the whole mesh. */
  readonly namespace: string | null
  /** Labels that they must all have; null: whatever their labels. */
  readonly labels: Readonly<Record<string, string>> | null
}

/** Facts that hold for the whole mesh. */
export interface TranslateSettings {
  readonly clusterId: string
  readonly trustDomain: string
  /** Network of everything that names none. */
  readonly network: string
  /** Namespace whose policies hold in the whole mesh. */
  readonly rootNamespace: string
  /** `cluster.local`. */
  readonly clusterDomain: string
  /** IPv4 network from which addresses are given to services that have none; CIDR. */
  readonly autoAddressRange: string
  /**
   * Whether somebody says on every pod that its node has enrolled it. Then nobody tunnels to it before; else what its author
   * wants is taken for what is.
   */
  readonly enrolmentIsTold: boolean
}

/** The result. Unchanged input gives the same objects again, so that identity says "unchanged". */
export interface Translation {
  /** By uid. */
  readonly workloads: ReadonlyMap<string, Workload>
  /** By `<namespace>/<hostname>`. */
  readonly services: ReadonlyMap<string, Service>
  /** By `<namespace>/<name>`. */
  readonly authorizations: ReadonlyMap<string, Authorization>
  /** By `<namespace>/<hostname>`. */
  readonly routes: ReadonlyMap<string, ServiceRoutes>
  /** By `<namespace>/<hostname>`. */
  readonly trafficPolicies: ReadonlyMap<string, TrafficPolicy>
  /** By the names of targets: see RequestPolicies. */
  readonly requestPolicies: ReadonlyMap<string, RequestPolicies>
  /** By the names of targets: see RequestTelemetry. */
  readonly requestTelemetry: ReadonlyMap<string, RequestTelemetry>
  /** By `<namespace>/<service account>`: what waypoints that run under it are told. */
  readonly waypointScopes: ReadonlyMap<string, WaypointScope>
  readonly routeStates: readonly RouteState[]
  readonly findings: readonly ConfigFinding[]
  readonly enforcement: readonly PolicyEnforcement[]
}
