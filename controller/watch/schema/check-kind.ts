// SPDX-License-Identifier: Apache-2.0
// Checks an object against the fields of its kind. Kinds without an entry are read to say that they are not served, or
// have nothing that we read.
import { type ConfigObject, groupOf, kindKey } from '../config-object.ts'
import type { ValueMistakes } from '../value-mistakes.ts'
import {
  ENDPOINT_SLICE,
  GATEWAY,
  GATEWAY_CLASS,
  NAMESPACE,
  NETWORK_POLICY,
  NODE,
  POD,
  POD_STATUS,
  SERVICE,
} from './core.ts'
import { GRPC_ROUTE, HTTP_ROUTE, L4_ROUTE, REFERENCE_GRANT } from './gateway-routes.ts'
import {
  AUTHORIZATION_POLICY,
  PEER_AUTHENTICATION,
  REQUEST_AUTHENTICATION,
  SERVICE_ENTRY,
  WORKLOAD_ENTRY_SPEC,
} from './istio.ts'
import { DESTINATION_RULE, TRAFFIC_SPLIT, VIRTUAL_SERVICE } from './istio-routes.ts'
import { TELEMETRY } from './istio-telemetry.ts'
import { checkShape, fields, type Shape } from './shape.ts'

interface KindShape {
  readonly spec?: Shape
  readonly status?: Shape
  /** Fields beside apiVersion, kind, metadata, spec and status; without it there are none. */
  readonly rest?: Shape
}

const NOTHING_MORE = fields({})

const SHAPES: ReadonlyMap<string, KindShape> = new Map<string, KindShape>([
  ['Namespace', { spec: NAMESPACE }],
  ['Node', { spec: NODE }],
  ['Pod', { spec: POD, status: POD_STATUS }],
  ['Service', { spec: SERVICE }],
  ['EndpointSlice.discovery.k8s.io', { rest: ENDPOINT_SLICE }],
  ['NetworkPolicy.networking.k8s.io', { spec: NETWORK_POLICY }],
  ['AuthorizationPolicy.security.istio.io', { spec: AUTHORIZATION_POLICY }],
  ['PeerAuthentication.security.istio.io', { spec: PEER_AUTHENTICATION }],
  ['RequestAuthentication.security.istio.io', { spec: REQUEST_AUTHENTICATION }],
  ['Telemetry.telemetry.istio.io', { spec: TELEMETRY }],
  ['ServiceEntry.networking.istio.io', { spec: SERVICE_ENTRY }],
  ['WorkloadEntry.networking.istio.io', { spec: WORKLOAD_ENTRY_SPEC }],
  ['Gateway.gateway.networking.k8s.io', { spec: GATEWAY }],
  ['GatewayClass.gateway.networking.k8s.io', { spec: GATEWAY_CLASS }],
  ['HTTPRoute.gateway.networking.k8s.io', { spec: HTTP_ROUTE }],
  ['GRPCRoute.gateway.networking.k8s.io', { spec: GRPC_ROUTE }],
  ['TCPRoute.gateway.networking.k8s.io', { spec: L4_ROUTE }],
  ['TLSRoute.gateway.networking.k8s.io', { spec: L4_ROUTE }],
  ['VirtualService.networking.istio.io', { spec: VIRTUAL_SERVICE }],
  ['DestinationRule.networking.istio.io', { spec: DESTINATION_RULE }],
  ['TrafficSplit.split.smi-spec.io', { spec: TRAFFIC_SPLIT }],
  ['ReferenceGrant.gateway.networking.k8s.io', { spec: REFERENCE_GRANT }],
])

/** Notes what in an object is not as its kind wants it. */
export function checkKind(object: ConfigObject, mistakes: ValueMistakes): void {
  const shape = SHAPES.get(kindKey(groupOf(object.apiVersion), object.kind))
  if (shape === undefined) return
  if (shape.spec !== undefined) checkShape(object.spec, shape.spec, ['spec'], mistakes)
  if (shape.status !== undefined) checkShape(object.status, shape.status, ['status'], mistakes)
  checkShape(object.rest, shape.rest ?? NOTHING_MORE, [], mistakes)
}
