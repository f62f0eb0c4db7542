// SPDX-License-Identifier: Apache-2.0
// A mesh of many services as files that one could apply.

/** What to write. */
export interface MeshSize {
  readonly services: number
  readonly podsPerService: number
  readonly nodes: number
}

/** One file per service: its pods and itself. `release` is a label of the pods: another one is a change. */
export function serviceYaml(
  index: number,
  { podsPerService, nodes }: MeshSize,
  release: string,
  namespace = 'bench',
): string {
  const name = `service-${index}`
  const documents: object[] = [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace },
      spec: {
        selector: { app: name },
        clusterIP: `10.96.${index >> 8}.${index & 255}`,
        clusterIPs: [`10.96.${index >> 8}.${index & 255}`],
        ports: [{ name: 'http', port: 80, targetPort: 8080 }],
      },
    },
  ]
  for (let pod = 0; pod < podsPerService; pod++) {
    const number = index * podsPerService + pod
    const ip = `10.${128 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`
    documents.push({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `${name}-${pod}`, namespace, labels: { app: name, version: release } },
      spec: {
        nodeName: `node-${number % nodes}`,
        serviceAccountName: name,
        containers: [{ name: 'main', ports: [{ containerPort: 8080 }] }],
      },
      status: {
        phase: 'Running',
        podIP: ip,
        podIPs: [{ ip }],
        conditions: [{ type: 'Ready', status: 'True' }],
      },
    })
  }
  return documents.map((document) => JSON.stringify(document)).join('\n---\n')
}

export const NAMESPACE_YAML = JSON.stringify({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: 'bench', labels: { 'sidestep.dev/mode': 'ambient' } },
})
