// SPDX-License-Identifier: Apache-2.0
// Names of the discovery protocol that both sides use. SPEC XDS §1.1, §1.4.
export const DELTA_PATH = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources'
export const ADDRESS_TYPE = 'type.googleapis.com/istio.workload.Address'
export const AUTHORIZATION_TYPE = 'type.googleapis.com/istio.security.Authorization'
/** Ours: the revoked certificates of the trust domain, one resource. Istio's ztunnel never asks for it. */
export const REVOCATIONS_TYPE = 'type.googleapis.com/sidestep.v1.Revocations'
export const REVOCATIONS_NAME = 'default'

/** Ours: what waypoints do with requests, and how they use endpoints; one resource per service, `<namespace>/<hostname>`. */
export const SERVICE_ROUTES_TYPE = 'type.googleapis.com/sidestep.v1.ServiceRoutes'
export const TRAFFIC_POLICY_TYPE = 'type.googleapis.com/sidestep.v1.TrafficPolicy'
export const REQUEST_POLICIES_TYPE = 'type.googleapis.com/sidestep.v1.RequestPolicies'
export const REQUEST_TELEMETRY_TYPE = 'type.googleapis.com/sidestep.v1.RequestTelemetry'

/**
 * Metadata of a node, `true`: its ztunnel diverts to the waypoint what would go round it, so that it needs no policies
 * that refuse such connections.
 */
export const DIVERTS_METADATA = 'sidestep.dev/diverts'

/** Name of an extension of a Workload, without content: its connections inside its node may take no tunnel. */
export const SAME_NODE_DIRECT = 'sidestep.dev/same-node-direct'

/** Name of an extension of a Service, a `sidestep.v1.PortNames`. */
export const PORT_NAMES = 'sidestep.dev/port-names'

/** Name of an extension of a Workload, a `sidestep.v1.WorkloadLabels`. */
export const WORKLOAD_LABELS = 'sidestep.dev/labels'
