// SPDX-License-Identifier: Apache-2.0
// The configuration that Sidestep and Istio's ztunnel both read: two workloads and one policy that is looked at for
// every connection and denies none of them.
import { writeFile } from 'node:fs/promises'
import { CLIENT_IP, type Lab, SERVER_IP, WEB_PORT } from '../lab.ts'

function workload(name: string, ips: readonly string[], node: string): string {
  return `- {uid: ${name}, name: ${name}, namespace: shop, serviceAccount: ${name}, trustDomain: cluster.local,
   workloadIps: ${JSON.stringify(ips)}, protocol: HBONE, ${node}services: {}}
`
}

/** Writes mesh.yaml into the lab; its path. `knowsNodes`: the ztunnel serves only what is on its node. */
export async function writeMeshFile(lab: Lab, knowsNodes: boolean): Promise<string> {
  const on = (node: string): string => (knowsNodes ? `node: ${node}, ` : '')
  const path = lab.file('mesh.yaml')
  await writeFile(
    path,
    `workloads:
${workload('client', [CLIENT_IP], on('n1'))}${workload('server', [SERVER_IP, ...lab.destinations], on('n2'))}policies:
- {name: no-batch, namespace: shop, scope: Namespace, action: Deny, dryRun: false,
   rules: [[[{principals: [!Exact cluster.local/ns/shop/sa/batch], destinationPorts: [${WEB_PORT}]}]]]}
`,
  )
  return path
}
