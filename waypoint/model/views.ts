// SPDX-License-Identifier: Apache-2.0
// What workers are told of the model: plain data, cloned to them. A target is what a caller may ask for, a cluster where
// its requests may go.
import type { Refusal } from '../../mesh/errors/refusal.ts'
import type { AppProtocol } from '../../mesh/model/service.ts'
import type { WorkloadFacts } from '../../mesh/model/workload-facts.ts'
import type { RequestPolicies } from '../../proto/generated/sidestep/v1/request_policies_pb.js'
import type { PortRoutes } from '../../proto/generated/sidestep/v1/routes_pb.js'
import type { RequestTelemetry } from '../../proto/generated/sidestep/v1/telemetry_pb.js'
import type { ClusterView } from '../upstream/cluster-view.ts'

/** Where requests of one kind go: a service's port, or a subset of it. */
export interface ClusterFacts {
  readonly kind: 'cluster'
  /** Named by `clusterName()`. */
  readonly view: ClusterView
  /** Why there is no endpoint; null when there are. */
  readonly refusal: Refusal | null
  readonly service: { readonly name: string; readonly namespace: string; readonly hostname: string }
  /** By the keys of endpoints. */
  readonly workloads: Readonly<Record<string, WorkloadFacts>>
}

/** Policies that have to let in what comes to a target, as if it came to `port`. */
export interface GuardView {
  readonly policies: RequestPolicies
  readonly port: number
}

/** A port of a service. */
export interface ServiceTarget {
  readonly kind: 'service'
  readonly authority: string
  readonly name: string
  readonly namespace: string
  readonly hostname: string
  readonly port: number
  readonly appProtocol: AppProtocol | null
  /** None: everything goes to the service as it is. */
  readonly routes: PortRoutes | null
  readonly guards: readonly GuardView[]
  /** null: the waypoint's own options hold. */
  readonly telemetry: RequestTelemetry | null
  /** Identities of the workloads behind it: they may state whom they divert. */
  readonly identities: readonly string[]
}

/** A port of a workload: no route of a service applies. */
export interface WorkloadTarget {
  readonly kind: 'workload'
  readonly authority: string
  readonly cluster: ClusterFacts
  /** Of every service that leads to it, and its own. */
  readonly guards: readonly GuardView[]
  /** As a service's. */
  readonly telemetry: RequestTelemetry | null
  readonly appProtocol: AppProtocol | null
  readonly identities: readonly string[]
}

/** What is not ours to serve, or is not there. */
export interface UnknownTarget {
  readonly kind: 'unknown'
  readonly authority: string
  readonly refusal: Refusal
}

/** What a CONNECT asks for. */
export type TargetView = ServiceTarget | WorkloadTarget | UnknownTarget

/** `service`: `<namespace>/<hostname>`; `subset` '': all endpoints. */
export function clusterName(service: string, port: number, subset: string): string {
  return `${service}|${port}|${subset}`
}

/** Reverses clusterName(). */
export function parseClusterName(name: string): {
  readonly service: string
  readonly port: number
  readonly subset: string
} {
  const [service = '', port = '', subset = ''] = name.split('|')
  return { service, port: Number(port), subset }
}

/** Where the requests of a target go that no route sends elsewhere. */
export function ownCluster(target: {
  readonly namespace: string
  readonly hostname: string
  readonly port: number
}): string {
  return clusterName(`${target.namespace}/${target.hostname}`, target.port, '')
}
