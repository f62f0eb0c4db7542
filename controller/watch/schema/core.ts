// SPDX-License-Identifier: Apache-2.0
// Fields of Kubernetes' own kinds and of the Gateway API. Pods and Nodes are open: most of their fields concern the
// kubelet. Services, EndpointSlices and Gateways are written by people and closed.
// SPEC KUBERNETES core/v1, discovery/v1; GATEWAY-API v1.
import {
  ANY,
  type FieldsShape,
  FLAG,
  fields,
  integer,
  list,
  oneOf,
  openFields,
  PORT,
  PORT_NUMBER,
  TEXT,
  TEXT_MAP,
  TEXTS,
} from './shape.ts'

const IP_POLICY = oneOf('SingleStack', 'PreferDualStack', 'RequireDualStack')
const FAMILIES = list(oneOf('IPv4', 'IPv6'))
const PROTOCOL = oneOf('TCP', 'UDP', 'SCTP')
const TRAFFIC_POLICY = oneOf('Cluster', 'Local')

const SERVICE_PORT = fields(
  {
    name: TEXT,
    protocol: PROTOCOL,
    appProtocol: TEXT,
    port: PORT_NUMBER,
    targetPort: PORT,
    nodePort: integer(0, 65_535),
  },
  'port',
)

export const SERVICE = fields({
  type: oneOf('ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'),
  selector: TEXT_MAP,
  ports: list(SERVICE_PORT),
  clusterIP: TEXT,
  clusterIPs: TEXTS,
  externalIPs: TEXTS,
  externalName: TEXT,
  externalTrafficPolicy: TRAFFIC_POLICY,
  internalTrafficPolicy: TRAFFIC_POLICY,
  trafficDistribution: TEXT,
  publishNotReadyAddresses: FLAG,
  ipFamilies: FAMILIES,
  ipFamilyPolicy: IP_POLICY,
  sessionAffinity: oneOf('None', 'ClientIP'),
  sessionAffinityConfig: ANY,
  healthCheckNodePort: integer(0, 65_535),
  loadBalancerIP: TEXT,
  loadBalancerClass: TEXT,
  loadBalancerSourceRanges: TEXTS,
  allocateLoadBalancerNodePorts: FLAG,
})

const CONTAINER_PORT = openFields({ name: TEXT, containerPort: PORT_NUMBER, protocol: PROTOCOL })
const CONTAINERS = list(openFields({ name: TEXT, ports: list(CONTAINER_PORT) }))

export const POD = openFields({
  nodeName: TEXT,
  serviceAccountName: TEXT,
  hostname: TEXT,
  subdomain: TEXT,
  hostNetwork: FLAG,
  containers: CONTAINERS,
  initContainers: CONTAINERS,
})

const CONDITIONS = list(openFields({ type: TEXT, status: TEXT }))

export const POD_STATUS = openFields({
  phase: oneOf('Pending', 'Running', 'Succeeded', 'Failed', 'Unknown'),
  podIP: TEXT,
  podIPs: list(openFields({ ip: TEXT })),
  hostIP: TEXT,
  conditions: CONDITIONS,
})

export const NODE = openFields({ podCIDR: TEXT, podCIDRs: TEXTS, unschedulable: FLAG })

const ENDPOINT = fields(
  {
    addresses: TEXTS,
    conditions: fields({ ready: FLAG, serving: FLAG, terminating: FLAG }),
    hostname: TEXT,
    nodeName: TEXT,
    zone: TEXT,
    hints: ANY,
    targetRef: openFields({ kind: TEXT, namespace: TEXT, name: TEXT, uid: TEXT }),
    deprecatedTopology: TEXT_MAP,
  },
  'addresses',
)

/** What an EndpointSlice has at its top, beside metadata. */
export const ENDPOINT_SLICE = fields(
  {
    addressType: oneOf('IPv4', 'IPv6', 'FQDN'),
    endpoints: list(ENDPOINT),
    ports: list(fields({ name: TEXT, protocol: PROTOCOL, port: PORT_NUMBER, appProtocol: TEXT })),
  },
  'addressType',
)

const CERTIFICATE_REF = fields({ group: TEXT, kind: TEXT, name: TEXT, namespace: TEXT }, 'name')
const LABEL_SELECTOR: FieldsShape = fields({
  matchLabels: TEXT_MAP,
  matchExpressions: list(
    fields(
      { key: TEXT, operator: oneOf('In', 'NotIn', 'Exists', 'DoesNotExist'), values: TEXTS },
      'key',
      'operator',
    ),
  ),
})

/** Whom it selects is all that is read of it. */
export const NETWORK_POLICY = openFields({ podSelector: LABEL_SELECTOR })

const LISTENER = fields(
  {
    name: TEXT,
    hostname: TEXT,
    port: PORT_NUMBER,
    protocol: TEXT,
    tls: fields({
      mode: oneOf('Terminate', 'Passthrough'),
      certificateRefs: list(CERTIFICATE_REF),
      frontendValidation: ANY,
      options: TEXT_MAP,
    }),
    allowedRoutes: fields({
      namespaces: fields({ from: oneOf('All', 'Selector', 'Same', 'None'), selector: LABEL_SELECTOR }),
      kinds: list(fields({ group: TEXT, kind: TEXT }, 'kind')),
    }),
  },
  'name',
  'port',
  'protocol',
)

export const GATEWAY = fields(
  {
    gatewayClassName: TEXT,
    listeners: list(LISTENER),
    addresses: list(fields({ type: TEXT, value: TEXT })),
    infrastructure: fields({ labels: TEXT_MAP, annotations: TEXT_MAP, parametersRef: ANY }),
    allowedListeners: ANY,
    backendTLS: ANY,
    tls: ANY,
    defaultScope: TEXT,
  },
  'gatewayClassName',
  'listeners',
)

export const GATEWAY_CLASS = fields(
  { controllerName: TEXT, description: TEXT, parametersRef: ANY },
  'controllerName',
)

export const NAMESPACE = fields({ finalizers: TEXTS })
