// SPDX-License-Identifier: Apache-2.0
// A large mesh as files for a controller: services with their pods over namespaces and nodes, and policies of every scope.
import { type MeshSize, serviceYaml } from '../controller/mesh-yaml.ts'

export const NAMESPACES = 20
export const ROOT_NAMESPACE = 'istio-system'
export const SIZE: MeshSize = { services: 1000, podsPerService: 10, nodes: 100 }
export const POLICIES = 200
/** As the controller names the node whose ztunnel is measured. */
export const NODE = 'node-0'

/** A pod of the node that is measured. */
export interface NodePod {
  readonly name: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly ip: string
}

const namespaceOf = (service: number): string => `team-${Math.floor((service * NAMESPACES) / SIZE.services)}`

/** The pods of the node: every node has as many. */
export function podsOfNode(): readonly NodePod[] {
  const pods: NodePod[] = []
  for (let number = 0; number < SIZE.services * SIZE.podsPerService; number += SIZE.nodes) {
    const service = Math.floor(number / SIZE.podsPerService)
    pods.push({
      name: `service-${service}-${number % SIZE.podsPerService}`,
      namespace: namespaceOf(service),
      serviceAccount: `service-${service}`,
      ip: `10.${128 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`,
    })
  }
  return pods
}

const serviceDocuments = (service: number): string => serviceYaml(service, SIZE, 'v1', namespaceOf(service))

function document(kind: string, namespace: string, name: string, spec: object): string {
  return JSON.stringify({ apiVersion: 'security.istio.io/v1', kind, metadata: { name, namespace }, spec })
}

function rules(namespace: string, index: number, port: number): object[] {
  const principals = Array.from(
    { length: 8 },
    (_, each) => `cluster.local/ns/${namespace}/sa/service-${(index * 8 + each) % SIZE.services}`,
  )
  const to = [{ operation: { ports: ['8080', String(port)] } }]
  return [
    { from: [{ source: { principals } }], to },
    { from: [{ source: { namespaces: [namespace, ROOT_NAMESPACE], notIpBlocks: ['192.0.2.0/24'] } }], to },
  ]
}

/** A policy of the mesh, of a namespace, or of one service's pods; `port` is a part that a change changes. */
export function policyDocument(
  scope: 'mesh' | 'namespace' | 'workload',
  index: number,
  port: number,
): string {
  const team = `team-${index % NAMESPACES}`
  if (scope === 'mesh')
    return document('AuthorizationPolicy', ROOT_NAMESPACE, `mesh-${index}`, {
      action: 'DENY',
      rules: [
        {
          from: [{ source: { principals: ['cluster.local/ns/none/sa/none'] } }],
          to: [{ operation: { ports: [String(port)] } }],
        },
      ],
    })
  if (scope === 'namespace')
    return document('AuthorizationPolicy', team, `team-${index}`, {
      action: 'ALLOW',
      rules: rules(team, index, port),
    })
  const own = servicesOfNode()
  const service = own[index % own.length] ?? 0
  return document('AuthorizationPolicy', namespaceOf(service), `service-${index}`, {
    action: 'ALLOW',
    selector: { matchLabels: { app: `service-${service}` } },
    rules: rules(namespaceOf(service), index, port),
  })
}

/** File name → text of everything that is there before the mesh arrives: namespaces, and the node's own services. */
export function firstFiles(): ReadonlyMap<string, string> {
  const namespaces = [ROOT_NAMESPACE, ...Array.from({ length: NAMESPACES }, (_, team) => `team-${team}`)]
  const files = new Map<string, string>()
  const labels = { 'sidestep.dev/mode': 'ambient' }
  const texts = namespaces.map((name) =>
    JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }),
  )
  files.set('namespaces.yaml', texts.join('\n---\n'))
  for (const service of servicesOfNode()) files.set(`service-${service}.yaml`, serviceDocuments(service))
  return files
}

/** Everything else: services with their pods, and policies. */
export function meshFiles(): ReadonlyMap<string, string> {
  const files = new Map<string, string>()
  const own = new Set(servicesOfNode())
  for (let service = 0; service < SIZE.services; service++)
    if (!own.has(service)) files.set(`service-${service}.yaml`, serviceDocuments(service))
  for (let index = 0; index < POLICIES; index++)
    files.set(policyFile(index), policyDocument(scopeOf(index), index, 9000))
  return files
}

/** Two of the mesh, five of each namespace, the rest of single services of the node: a controller sends no others. */
export function scopeOf(index: number): 'mesh' | 'namespace' | 'workload' {
  if (index < 2) return 'mesh'
  return index < 2 + 5 * NAMESPACES ? 'namespace' : 'workload'
}

export const policyFile = (index: number): string => `policy-${index}.yaml`

function servicesOfNode(): number[] {
  return podsOfNode().map(({ serviceAccount }) => Number(serviceAccount.slice('service-'.length)))
}
