// SPDX-License-Identifier: Apache-2.0
// The kinds the controller reads, and in which version it asks for them. A kind that is not served here is not silent:
// UNSERVED kinds are read only to say so.

export interface WatchedKind {
  readonly group: string
  readonly kind: string
  readonly plural: string
  /** Versions that are read, the preferred one first. */
  readonly versions: readonly string[]
  readonly isNamespaced: boolean
  /** `core`: every apiserver has it. `crd`: may be missing, then the kind has no objects. */
  readonly origin: 'core' | 'crd'
  /** False: an object of it becomes a finding and nothing else. */
  readonly isServed: boolean
}

function kind(
  group: string,
  name: string,
  plural: string,
  versions: readonly string[],
  rest: Partial<WatchedKind> = {},
): WatchedKind {
  const origin =
    group.includes('istio.io') || group.startsWith('gateway.') || group.includes('smi-spec') ? 'crd' : 'core'
  return { group, kind: name, plural, versions, isNamespaced: true, origin, isServed: true, ...rest }
}

const NETWORKING = 'networking.istio.io'
const SECURITY = 'security.istio.io'
const GATEWAY = 'gateway.networking.k8s.io'
const ISTIO_VERSIONS = ['v1', 'v1beta1', 'v1alpha3']
const isServed = false

export const WATCHED_KINDS: readonly WatchedKind[] = [
  kind('', 'Namespace', 'namespaces', ['v1'], { isNamespaced: false }),
  kind('', 'Node', 'nodes', ['v1'], { isNamespaced: false }),
  kind('', 'Pod', 'pods', ['v1']),
  kind('', 'Service', 'services', ['v1']),
  kind('discovery.k8s.io', 'EndpointSlice', 'endpointslices', ['v1']),
  kind('networking.k8s.io', 'NetworkPolicy', 'networkpolicies', ['v1']),
  kind(NETWORKING, 'ServiceEntry', 'serviceentries', ISTIO_VERSIONS),
  kind(NETWORKING, 'WorkloadEntry', 'workloadentries', ISTIO_VERSIONS),
  kind(SECURITY, 'AuthorizationPolicy', 'authorizationpolicies', ['v1', 'v1beta1']),
  kind(SECURITY, 'PeerAuthentication', 'peerauthentications', ['v1', 'v1beta1']),
  kind(GATEWAY, 'Gateway', 'gateways', ['v1', 'v1beta1']),
  kind(GATEWAY, 'HTTPRoute', 'httproutes', ['v1', 'v1beta1']),
  kind(GATEWAY, 'GRPCRoute', 'grpcroutes', ['v1']),
  kind(GATEWAY, 'TCPRoute', 'tcproutes', ['v1alpha2']),
  kind(GATEWAY, 'TLSRoute', 'tlsroutes', ['v1', 'v1alpha3', 'v1alpha2']),
  kind(GATEWAY, 'ReferenceGrant', 'referencegrants', ['v1', 'v1beta1']),
  kind(GATEWAY, 'GatewayClass', 'gatewayclasses', ['v1', 'v1beta1'], { isNamespaced: false }),
  kind(NETWORKING, 'VirtualService', 'virtualservices', ISTIO_VERSIONS),
  kind(NETWORKING, 'DestinationRule', 'destinationrules', ISTIO_VERSIONS),
  kind('split.smi-spec.io', 'TrafficSplit', 'trafficsplits', ['v1alpha4', 'v1alpha3', 'v1alpha2']),
  kind(NETWORKING, 'Gateway', 'gateways', ISTIO_VERSIONS, { isServed }),
  kind(NETWORKING, 'Sidecar', 'sidecars', ISTIO_VERSIONS, { isServed }),
  kind(NETWORKING, 'EnvoyFilter', 'envoyfilters', ['v1alpha3'], { isServed }),
  kind(NETWORKING, 'WorkloadGroup', 'workloadgroups', ISTIO_VERSIONS, { isServed }),
  kind(NETWORKING, 'ProxyConfig', 'proxyconfigs', ['v1beta1'], { isServed }),
  kind('extensions.istio.io', 'WasmPlugin', 'wasmplugins', ['v1alpha1'], { isServed }),
  kind(SECURITY, 'RequestAuthentication', 'requestauthentications', ['v1', 'v1beta1']),
  kind('telemetry.istio.io', 'Telemetry', 'telemetries', ['v1', 'v1alpha1']),
]

const BY_NAME = new Map(WATCHED_KINDS.map((each) => [`${each.group}/${each.kind}`, each]))

/** The watched kind of that group and name. */
export function findKind(group: string, name: string): WatchedKind | undefined {
  return BY_NAME.get(`${group}/${name}`)
}
