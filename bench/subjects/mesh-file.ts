// SPDX-License-Identifier: Apache-2.0
// The configuration that Sidestep and Istio's ztunnel both read: a workload for each pod and one
// policy that is looked at for every connection and denies none of them.
import { writeFile } from 'node:fs/promises'
import { type Lab, podsOf, WEB_PORT } from '../lab.ts'

function workload(name: string, ips: readonly string[], protocol: 'HBONE' | 'TCP', node: string): string {
  return `- {uid: ${name}, name: ${name}, namespace: shop, serviceAccount: ${name}, trustDomain: cluster.local,
   workloadIps: ${JSON.stringify(ips)}, protocol: ${protocol}, ${node}services: {}}
`
}

/** Each is true of nobody here: all of them are looked at. */
function rule(index: number): string {
  const account = index === 0 ? 'batch' : `batch-${index}`
  return `[[{principals: [!Exact cluster.local/ns/shop/sa/${account}], destinationPorts: [${WEB_PORT}]}]]`
}

/** Writes mesh.yaml into the lab; its path. `knowsNodes`: the ztunnel serves only what is on its node. */
export async function writeMeshFile(lab: Lab, knowsNodes: boolean): Promise<string> {
  const path = lab.file('mesh.yaml')
  const workloads = podsOf(lab.place).map(({ name, ip, node, isInMesh }) => {
    const ips = name === 'server' ? [ip, ...lab.destinations] : [ip]
    return workload(name, ips, isInMesh ? 'HBONE' : 'TCP', knowsNodes ? `node: ${node}, ` : '')
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
