// SPDX-License-Identifier: Apache-2.0
// The configuration that Sidestep and Istio's ztunnel both read: a workload for each pod and one
// policy that is looked at for every connection and denies none of them.
import { writeFile } from 'node:fs/promises'
import { type Lab, podsOf, WEB_PORT } from '../lab.ts'

function workload(name: string, ips: readonly string[], protocol: 'HBONE' | 'TCP', more: string): string {
  return `- {uid: ${name}, name: ${name}, namespace: shop, serviceAccount: ${name}, trustDomain: cluster.local,
   workloadIps: ${JSON.stringify(ips)}, protocol: ${protocol}, ${more}services: {}}
`
}

/** Each is true of nobody here: all of them are looked at. */
function rule(index: number): string {
  const account = index === 0 ? 'batch' : `batch-${index}`
  return `[[{principals: [!Exact cluster.local/ns/shop/sa/${account}], destinationPorts: [${WEB_PORT}]}]]`
}

/** Writes mesh.yaml into the lab; its path. `isOurs`: with what only Sidestep serves: nodes, and pairs of one without tunnel. */
export async function writeMeshFile(lab: Lab, isOurs: boolean): Promise<string> {
  const path = lab.file('mesh.yaml')
  const workloads = podsOf(lab.place).map(({ name, ip, node, isInMesh }) => {
    const ips = name === 'server' ? [ip, ...lab.destinations] : [ip]
    const wish = lab.place.isSameNode ? 'sameNode: direct, ' : ''
    return workload(name, ips, isInMesh ? 'HBONE' : 'TCP', isOurs ? `node: ${node}, ${wish}` : '')
  })
  const rules = Array.from({ length: lab.place.ruleCount }, (_, index) => rule(index))
  await writeFile(
    path,
    `workloads:
${workloads.join('')}policies:
- {name: no-batch, namespace: shop, scope: Namespace, action: Deny, dryRun: false,
   rules: [${rules.join(',\n    ')}]}
`,
  )
  return path
}
