// SPDX-License-Identifier: Apache-2.0
// Envoy as a tunnel: one process in each pod, CONNECT over mTLS and HTTP/2 between them, behind the same redirect
// rules as ours on the client's side.
import { writeFile } from 'node:fs/promises'
import type { Signer } from '../../mesh/identity/pki.ts'
import { ENVOY_VERSION, envoyBinary } from '../../scripts/envoy.ts'
import {
  applyRedirectRules,
  MESH_MARK,
  redirectRules,
} from '../../ztunnel/supervisor/enroll/redirect-rules.ts'
import type { Lab } from '../lab.ts'
import { versionOf } from '../measure/machine.ts'
import type { LoggedProcess } from '../processes.ts'
import { createAuthority, writeCertificate } from './certificate-files.ts'
import { destinationConfig, type EnvoyFiles, sourceConfig } from './envoy-config.ts'
import type { MissingSubject, RunningSubject, Subject } from './subject.ts'

const CONCURRENCY = 2

async function certificateFiles(lab: Lab, authority: Signer, name: string): Promise<EnvoyFiles> {
  return await writeCertificate(authority, name, {
    certificate: lab.file(`${name}.pem`),
    key: lab.file(`${name}.key`),
    root: lab.file('root.pem'),
  })
}

async function startIn(
  lab: Lab,
  pod: 'client' | 'server',
  binary: string,
  config: object,
): Promise<LoggedProcess> {
  const path = lab.file(`envoy-${pod}.json`)
  await writeFile(path, JSON.stringify(config))
  const args = [
    '-c',
    path,
    '--concurrency',
    String(CONCURRENCY),
    '--disable-hot-restart',
    '--log-level',
    'warning',
  ]
  return lab.processes.start(lab.network.pod(pod).namespace, binary, args)
}

/** Envoy, found or installed by scripts/envoy.ts. */
export async function envoy(path: string): Promise<Subject | MissingSubject> {
  let binary: string
  try {
    binary = await envoyBinary()
  } catch (error) {
    return { name: 'envoy', missing: error instanceof Error ? error.message : String(error) }
  }
  const line = await versionOf(binary, ['--version'], path)
  return {
    name: 'envoy',
    description: {
      isMissing: false,
      version: /version:\s*[0-9a-f]+\/([^/]+)\//.exec(line)?.[1] ?? ENVOY_VERSION,
      settings:
        `one process in each pod, concurrency ${CONCURRENCY}; redirected by the same nf_tables rules on the client’s ` +
        'side; tcp_proxy with tunneling_config to CONNECT over mTLS (TLS 1.3, h2), windows as ours; the client’s ' +
        'address not kept; no policy, no access log',
    },
    async start(lab: Lab): Promise<RunningSubject> {
      const authority = await createAuthority(lab.file('root.pem'))
      const serverFiles = await certificateFiles(lab, authority, 'server')
      const clientFiles = await certificateFiles(lab, authority, 'client')
      const destination = await startIn(lab, 'server', binary, destinationConfig(serverFiles))
      const source = await startIn(lab, 'client', binary, sourceConfig(clientFiles, MESH_MARK))
      applyRedirectRules(lab.client.namespace, redirectRules())
      return {
        name: 'envoy',
        lab,
        sourcePids: () => [source.pid],
        destinationPids: () => [destination.pid],
        dataPids: () => ({ source: [source.pid], destination: [destination.pid] }),
      }
    },
  }
}
