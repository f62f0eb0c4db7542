// SPDX-License-Identifier: Apache-2.0
// Fields of the Istio kinds that are served. Values that only translation can judge (addresses, patterns, principals)
// are texts here. SPEC ISTIO-API security/v1, networking/v1; type/v1beta1 selectors.
import {
  FLAG,
  fields,
  integer,
  list,
  mapOf,
  oneOf,
  PORT_NUMBER,
  policyFields,
  type Shape,
  TEXT,
  TEXT_MAP,
  TEXTS,
} from './shape.ts'

const SELECTOR = policyFields({ matchLabels: TEXT_MAP })
const TARGET_REF = policyFields({ group: TEXT, kind: TEXT, name: TEXT, namespace: TEXT }, 'kind', 'name')
const MTLS = policyFields({ mode: oneOf('UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT') })

const SOURCE = policyFields({
  principals: TEXTS,
  notPrincipals: TEXTS,
  requestPrincipals: TEXTS,
  notRequestPrincipals: TEXTS,
  namespaces: TEXTS,
  notNamespaces: TEXTS,
  serviceAccounts: TEXTS,
  notServiceAccounts: TEXTS,
  ipBlocks: TEXTS,
  notIpBlocks: TEXTS,
  remoteIpBlocks: TEXTS,
  notRemoteIpBlocks: TEXTS,
})

const OPERATION = policyFields({
  hosts: TEXTS,
  notHosts: TEXTS,
  ports: TEXTS,
  notPorts: TEXTS,
  methods: TEXTS,
  notMethods: TEXTS,
  paths: TEXTS,
  notPaths: TEXTS,
})

const RULE = policyFields({
  from: list(policyFields({ source: SOURCE })),
  to: list(policyFields({ operation: OPERATION })),
  when: list(policyFields({ key: TEXT, values: TEXTS, notValues: TEXTS }, 'key')),
})

const WORKLOAD_ENTRY = {
  address: TEXT,
  ports: mapOf(PORT_NUMBER),
  labels: TEXT_MAP,
  network: TEXT,
  locality: TEXT,
  weight: integer(0, 4_294_967_295),
  serviceAccount: TEXT,
}

const SERVICE_PORT = fields(
  { number: PORT_NUMBER, protocol: TEXT, name: TEXT, targetPort: integer(0, 65_535) },
  'number',
  'name',
)

/** Shapes of `spec`. */
export const AUTHORIZATION_POLICY = policyFields({
  selector: SELECTOR,
  targetRef: TARGET_REF,
  targetRefs: list(TARGET_REF),
  rules: list(RULE),
  action: oneOf('ALLOW', 'DENY', 'AUDIT', 'CUSTOM'),
  provider: fields({ name: TEXT }),
})

const JWT_RULE = policyFields(
  {
    issuer: TEXT,
    audiences: TEXTS,
    jwksUri: TEXT,
    jwks_uri: TEXT,
    jwks: TEXT,
    fromHeaders: list(policyFields({ name: TEXT, prefix: TEXT }, 'name')),
    fromParams: TEXTS,
    fromCookies: TEXTS,
    outputPayloadToHeader: TEXT,
    outputClaimToHeaders: list(policyFields({ header: TEXT, claim: TEXT }, 'header', 'claim')),
    forwardOriginalToken: FLAG,
    timeout: TEXT,
    spaceDelimitedClaims: TEXTS,
  },
  'issuer',
)

export const REQUEST_AUTHENTICATION = policyFields({
  selector: SELECTOR,
  targetRef: TARGET_REF,
  targetRefs: list(TARGET_REF),
  jwtRules: list(JWT_RULE),
})

export const PEER_AUTHENTICATION = policyFields({
  selector: SELECTOR,
  mtls: MTLS,
  portLevelMtls: mapOf(MTLS),
})

export const SERVICE_ENTRY: Shape = fields(
  {
    hosts: TEXTS,
    addresses: TEXTS,
    ports: list(SERVICE_PORT),
    location: oneOf('MESH_EXTERNAL', 'MESH_INTERNAL'),
    resolution: oneOf('NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS'),
    endpoints: list(fields(WORKLOAD_ENTRY)),
    workloadSelector: fields({ labels: TEXT_MAP }),
    exportTo: TEXTS,
    subjectAltNames: TEXTS,
  },
  'hosts',
)

export const WORKLOAD_ENTRY_SPEC: Shape = fields(WORKLOAD_ENTRY)
