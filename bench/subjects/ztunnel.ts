// SPDX-License-Identifier: Apache-2.0
// Istio's ztunnel, one process in each pod (dedicated mode), behind the same redirect rules as ours.
// SPEC wire-protocols §6.4: dedicated mode with a local file and the built-in CA of testing builds.
import {
  applyRedirectRules,
  MESH_MARK,
  redirectRules,
} from '../../ztunnel/supervisor/enroll/redirect-rules.ts'
import { type Lab, type PlacedPod, podsOf } from '../lab.ts'
import { versionOf } from '../measure/machine.ts'
import type { LoggedProcess } from '../processes.ts'
import { writeMeshFile } from './mesh-file.ts'
import type { MissingSubject, RunningSubject, Subject } from './subject.ts'

const WORKERS = 2

function startIn(lab: Lab, pod: PlacedPod['name'], binary: string): LoggedProcess {
  const { namespace } = lab.network.pod(pod)
  applyRedirectRules(namespace, redirectRules())
  return lab.processes.start(namespace, binary, ['proxy'], {
    PROXY_MODE: 'dedicated',
    PROXY_WORKLOAD_INFO: `shop/${pod}/${pod}`,
    XDS_ADDRESS: '',
    LOCAL_XDS_PATH: lab.file('mesh.yaml'),
    FAKE_CA: 'true',
    ENABLE_ORIG_SRC: 'false',
    PACKET_MARK: String(MESH_MARK),
    ZTUNNEL_WORKER_THREADS: String(WORKERS),
    ISTIO_META_DNS_CAPTURE: 'false',
    RUST_LOG: 'info',
  })
}

/** One in each pod of the mesh. */
function startAll(lab: Lab, binary: string): RunningSubject {
  const started = podsOf(lab.place)
    .filter(({ isInMesh }) => isInMesh)
    .map(({ name }) => ({ name, pid: startIn(lab, name, binary).pid }))
  const pidsOf = (...names: readonly PlacedPod['name'][]): number[] =>
    started.flatMap(({ name, pid }) => (names.includes(name) ? [pid] : []))
  return {
    name: 'ztunnel',
    lab,
    sourcePids: () => pidsOf('client', 'talker'),
    destinationPids: () => pidsOf('server', 'listener'),
    dataPids: () => ({ source: pidsOf('client'), destination: pidsOf('server') }),
  }
}

/** The ztunnel of a binary; without one, what to do about it. */
export async function ztunnel(binary: string, path: string): Promise<Subject | MissingSubject> {
  if (binary === '') return { name: 'ztunnel', missing: 'ZTUNNEL_BIN names no ztunnel' }
  const line = await versionOf(binary, ['version'], path)
  const field = (name: string): string => new RegExp(`${name}:"([^"]*)"`).exec(line)?.[1] ?? 'unknown'
  return {
    name: 'ztunnel',
    description: {
      isMissing: false,
      version: `${field('GitRevision').slice(0, 10)} (${field('BuildProfile')}, ${field('CryptoProvider')}, Rust ${field('RustVersion')})`,
      settings:
        `dedicated mode: one process in each pod, ${WORKERS} worker threads; redirected by the same nf_tables ` +
        'rules; built-in test CA; the client’s address not kept; the same Deny policy; access log at info to a file',
    },
    async start(lab: Lab): Promise<RunningSubject> {
      await writeMeshFile(lab, false)
      return startAll(lab, binary)
    },
  }
}
