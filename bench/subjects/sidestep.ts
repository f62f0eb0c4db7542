// SPDX-License-Identifier: Apache-2.0
// Ours: a supervisor with its data process on each node, as in production. Metrics are kept and every connection
// leaves its record in a file.
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { get } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Lab, NODES, type NodeName, podsOf } from '../lab.ts'
import { childrenOf } from '../measure/process-usage.ts'
import type { LoggedProcess } from '../processes.ts'
import { writeMeshFile } from './mesh-file.ts'
import type { RunningSubject, Subject } from './subject.ts'

const SUPERVISOR = fileURLToPath(new URL('../../ztunnel/supervisor/main.ts', import.meta.url))
const WORKERS = 2
const READY_TIMEOUT_MS = 20_000
const READY_INTERVAL_MS = 50

async function isReady(socketPath: string): Promise<boolean> {
  if (!existsSync(socketPath)) return false
  return await new Promise((resolve) => {
    get({ socketPath, path: '/ready', agent: false }, (response) => {
      response.resume()
      resolve(response.statusCode === 200)
    }).on('error', () => resolve(false))
  })
}

type Environment = Readonly<Record<string, string>>

/** Null: there is no pod of the mesh on that node. */
async function startNode(lab: Lab, node: NodeName, environment: Environment): Promise<LoggedProcess | null> {
  const pods = podsOf(lab.place).filter((pod) => pod.node === node && pod.isInMesh)
  if (pods.length === 0) return null
  const lines = pods.map(({ name }) => {
    const netns = lab.network.pod(name).namespace.path
    return `- {uid: u-${name}, name: ${name}, namespace: shop, serviceAccount: ${name}, netns: ${netns}}\n`
  })
  await writeFile(lab.file(`${node}.yaml`), `pods:\n${lines.join('')}`)
  const supervisor = lab.processes.start(
    lab.network.node(node).namespace,
    process.execPath,
    ['--no-warnings', SUPERVISOR],
    {
      SIDESTEP_NODE_NAME: node,
      SIDESTEP_CONFIG_FILE: lab.file('mesh.yaml'),
      SIDESTEP_ENROLMENT_FILE: lab.file(`${node}.yaml`),
      SIDESTEP_CA_DIRECTORY: lab.file('ca'),
      SIDESTEP_STATE_DIRECTORY: lab.file(`state-${node}`),
      SIDESTEP_ADMIN_SOCKET: lab.file(`${node}.sock`),
      SIDESTEP_RECORDS: lab.file(`${node}.records`),
      SIDESTEP_LOG_LEVEL: 'warn',
      SIDESTEP_WORKER_COUNT: String(WORKERS),
      SIDESTEP_DRAIN_SECONDS: '0',
      ...environment,
    },
  )
  const endMs = performance.now() + READY_TIMEOUT_MS
  while (!(await isReady(lab.file(`${node}.sock`)))) {
    if (supervisor.hasEnded || performance.now() > endMs) {
      throw new Error(`${node}: the ztunnel is not ready\n${supervisor.logEnd()}`)
    }
    await wait(READY_INTERVAL_MS)
  }
  return supervisor
}

async function startNodes(lab: Lab, environment: Environment): Promise<(LoggedProcess | null)[]> {
  const started: (LoggedProcess | null)[] = []
  for (const node of NODES) started.push(await startNode(lab, node, environment))
  return started
}

/** Sidestep of this working copy. */
export const SIDESTEP: Subject = {
  name: 'sidestep',
  description: {
    isMissing: false,
    version: 'the commit of each row',
    settings:
      `supervisor and data process on each node, ${WORKERS} workers each; redirected by nf_tables; TLS 1.3; ` +
      'the client’s address kept; one Deny policy; metrics; connection records to a file',
  },
  start: (lab) => startSidestep(lab),
}

/** `environment`: of both nodes' processes, besides their options. */
export async function startSidestep(lab: Lab, environment: Environment = {}): Promise<RunningSubject> {
  await mkdir(lab.file('ca'), { mode: 0o700 })
  await writeMeshFile(lab, true)
  const [source = null, destination = null] = await startNodes(lab, environment)
  const data = (of: LoggedProcess | null): number[] => (of === null ? [] : childrenOf(of.pid))
  const all = (of: LoggedProcess | null): number[] => (of === null ? [] : [of.pid, ...data(of)])
  return {
    name: 'sidestep',
    lab,
    sourcePids: () => all(source),
    destinationPids: () => all(destination),
    dataPids: () => ({ source: data(source), destination: data(destination) }),
  }
}
