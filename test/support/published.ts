// SPDX-License-Identifier: Apache-2.0
// Small published sets for tests of the controller's `publish`.
import { create } from '@bufbuild/protobuf'
import type { Published } from '../../controller/publish/publisher.ts'
import {
  Action,
  type Authorization,
  AuthorizationSchema,
  Scope,
} from '../../proto/generated/istio/authorization_pb.js'
import {
  type Service,
  ServiceSchema,
  type Workload,
  WorkloadSchema,
} from '../../proto/generated/istio/workload_pb.js'

/** A workload `<namespace>/<name>`; its uid is `Kubernetes//Pod/<namespace>/<name>`. */
export function workload(
  key: string,
  fields: {
    readonly node?: string
    readonly ip?: readonly number[]
    readonly policies?: readonly string[]
    readonly services?: readonly string[]
  } = {},
): Workload {
  const [namespace = '', name = ''] = key.split('/')
  return create(WorkloadSchema, {
    uid: `Kubernetes//Pod/${key}`,
    name,
    namespace,
    node: fields.node ?? 'node-a',
    addresses: fields.ip === undefined ? [] : [Uint8Array.from(fields.ip)],
    authorizationPolicies: [...(fields.policies ?? [])],
    services: Object.fromEntries((fields.services ?? []).map((service) => [service, { ports: [] }])),
  })
}

/** A service `<namespace>/<hostname>`. */
export function service(key: string, ip: readonly number[]): Service {
  const [namespace = '', hostname = ''] = key.split('/')
  const addresses = [{ network: '', address: Uint8Array.from(ip) }]
  return create(ServiceSchema, { name: hostname.split('.')[0] ?? '', namespace, hostname, addresses })
}

/** A policy `<namespace>/<name>` that denies nothing. */
export function policy(key: string, scope: Scope = Scope.WORKLOAD_SELECTOR, isDryRun = false): Authorization {
  const [namespace = '', name = ''] = key.split('/')
  return create(AuthorizationSchema, { namespace, name, scope, action: Action.DENY, dryRun: isDryRun })
}

const NO_ROUTES = {
  routes: new Map(),
  trafficPolicies: new Map(),
  requestPolicies: new Map(),
  requestTelemetry: new Map(),
  waypointScopes: new Map(),
}

/** Keyed as a translation is. */
export function published(
  workloads: readonly Workload[],
  services: readonly Service[] = [],
  policies: readonly Authorization[] = [],
): Published {
  return {
    workloads: new Map(workloads.map((each) => [each.uid, each])),
    services: new Map(services.map((each) => [`${each.namespace}/${each.hostname}`, each])),
    authorizations: new Map(policies.map((each) => [`${each.namespace}/${each.name}`, each])),
    ...NO_ROUTES,
  }
}
