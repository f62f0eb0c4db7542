// SPDX-License-Identifier: Apache-2.0
// The mesh of the waypoint's bench as objects of Kubernetes: a client, two waypoints, one of them Envoy's, and services
// whose one endpoint is a pod outside of the mesh. Pure.
import { CASES, type Case, prefixOf, serviceIp, WAYPOINTS, type Waypoint } from './cases.ts'
import { ISSUER } from './token.ts'

export const NAMESPACE = 'shop'
export const IPS = {
  client: '10.1.0.1',
  server: '10.2.0.1',
  sidestep: '10.2.0.2',
  envoy: '10.2.0.3',
} as const
export const WEB_PORT = 8080
/** Of the server that speaks HTTP/2. */
export const GRPC_PORT = 8081

const identityOf = (name: string): string => `spiffe://cluster.local/ns/${NAMESPACE}/sa/${name}`
export const CLIENT_IDENTITY = identityOf('client')
export const WAYPOINT_IDENTITY = identityOf('sidestep')

type Document = Readonly<Record<string, unknown>>

function pod(name: keyof typeof IPS, node: string, labels: Readonly<Record<string, string>>): Document {
  const podIP = IPS[name]
  return {
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: NAMESPACE, labels } },
    spec: { nodeName: node, serviceAccountName: name, containers: [{ name: 'main' }] },
    status: {
      ...{ phase: 'Running', podIP, podIPs: [{ ip: podIP }] },
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  }
}

function service(name: string, ip: string, spec: Document, annotations: Document = {}): Document {
  const metadata = { name, namespace: NAMESPACE, annotations }
  return { apiVersion: 'v1', kind: 'Service', metadata, spec: { ...spec, clusterIP: ip, clusterIPs: [ip] } }
}

/** The Gateway of a waypoint, its pod and the service before it. */
function waypoint(name: Waypoint): Document[] {
  const gateway = 'gateway.networking.k8s.io/gateway-name'
  const value = `${name}.${NAMESPACE}.svc.cluster.local`
  return [
    {
      ...{ apiVersion: 'gateway.networking.k8s.io/v1', kind: 'Gateway' },
      metadata: { name, namespace: NAMESPACE },
      spec: {
        gatewayClassName: 'sidestep-waypoint',
        listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
      },
      status: { addresses: [{ type: 'Hostname', value }] },
    },
    pod(name, 'elsewhere', { [gateway]: name, 'sidestep.dev/mode': 'none' }),
    service(name, `10.96.0.${WAYPOINTS.indexOf(name) + 1}`, {
      selector: { [gateway]: name },
      ports: [{ name: 'hbone', port: 15008, targetPort: 15008 }],
    }),
  ]
}

/** The name of a case's service; of a host, so without capitals. */
const nameOf = (proxy: Waypoint, { key }: Case): string => `${proxy}-${key.toLowerCase()}`

/** A service behind a waypoint, and its route. */
function routed(proxy: Waypoint, of: Case): Document[] {
  const name = nameOf(proxy, of)
  const http = Array.from({ length: of.rules }, (_, rule) => ({
    match: [{ uri: { prefix: prefixOf(rule) } }],
    route: [{ destination: { host: name, port: { number: 80 } } }],
    // Envoy would not try again either, unless it is told to.
    retries: { attempts: 0 },
  }))
  const targetPort = of.protocol === 'grpc' ? GRPC_PORT : WEB_PORT
  return [
    service(
      name,
      serviceIp(proxy, of),
      { selector: { app: 'server' }, ports: [{ name: of.protocol, port: 80, targetPort }] },
      { 'sidestep.dev/waypoint': proxy },
    ),
    {
      ...{ apiVersion: 'networking.istio.io/v1', kind: 'VirtualService' },
      ...{ metadata: { name, namespace: NAMESPACE }, spec: { hosts: [name], http } },
    },
  ]
}

/** Our own waypoint's rules of a secured case: Envoy has them in its bootstrap. `jwks`: of the issuer. */
function secured(of: Case, jwks: string): Document[] {
  const name = nameOf('sidestep', of)
  const apiVersion = 'security.istio.io/v1'
  const metadata = { name, namespace: NAMESPACE }
  const targetRefs = [{ group: '', kind: 'Service', name }]
  const source = {
    principals: [CLIENT_IDENTITY.replace('spiffe://', '')],
    requestPrincipals: [`${ISSUER}/*`],
  }
  const to = [{ operation: { methods: ['GET'], paths: ['/r*'] } }]
  return [
    {
      ...{ apiVersion, kind: 'RequestAuthentication', metadata },
      spec: { targetRefs, jwtRules: [{ issuer: ISSUER, jwks, forwardOriginalToken: true }] },
    },
    {
      ...{ apiVersion, kind: 'AuthorizationPolicy', metadata },
      spec: { targetRefs, action: 'ALLOW', rules: [{ from: [{ source }], to }] },
    },
  ]
}

/** All of it, for the controller's directory. */
export function meshYaml(jwks: string): string {
  const labels = { 'sidestep.dev/mode': 'ambient' }
  const documents: Document[] = [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE, labels } },
    pod('client', 'n1', {}),
    pod('server', 'n2', { app: 'server', 'sidestep.dev/mode': 'none' }),
    ...WAYPOINTS.flatMap(waypoint),
    ...WAYPOINTS.flatMap((proxy) => CASES.flatMap((of) => routed(proxy, of))),
    ...CASES.filter(({ isSecured }) => isSecured).flatMap((of) => secured(of, jwks)),
  ]
  return documents.map((document) => JSON.stringify(document)).join('\n---\n')
}
