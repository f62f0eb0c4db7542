// SPDX-License-Identifier: Apache-2.0
// Small meshes for tests, written as users write them.
import { formatFinding } from '../../mesh/model/finding.ts'
import { parseLocalConfig } from '../../mesh/model/local-config.ts'
import { MeshState } from '../../mesh/model/mesh-state.ts'

/** The state of a configuration text. @throws with the findings when it has any. */
export function meshOf(text: string, version = 1): MeshState {
  const config = parseLocalConfig(text, { file: 'mesh.yaml', trustDomain: 'cluster.local' })
  if (config.kind === 'findings') throw new Error(config.findings.map(formatFinding).join('\n'))
  return new MeshState(config, version)
}

/** One HBONE workload of namespace `shop` in flow style; `more` overrides or adds fields. */
export function workload(name: string, ip: string, more = ''): string {
  const has = (key: string): boolean => more.includes(`${key}:`)
  const fields = [
    `uid: ${name}, name: ${name}, serviceAccount: ${name}-sa`,
    has('namespace') ? '' : 'namespace: shop',
    has('workloadIps') ? '' : `workloadIps: [${JSON.stringify(ip)}]`,
    more.includes('protocol: TCP') ? '' : 'protocol: HBONE',
    has('services') ? '' : 'services: {}',
    more,
  ]
  return `{${fields.filter((field) => field !== '').join(', ')}}`
}
