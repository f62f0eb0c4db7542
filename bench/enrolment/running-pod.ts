// SPDX-License-Identifier: Apache-2.0
// How soon is a running pod in the mesh, and what do requests notice that are under way meanwhile? Two nodes in network namespaces.
import { mkdtempSync, rmSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { labMesh, MeshLab, poll } from '../../test/support/mesh-lab.ts'
import { RequestLoad } from '../../test/support/request-load.ts'
import { NAT_TABLE, readRedirectRules } from '../../ztunnel/supervisor/enroll/redirect-rules.ts'

const TARGET = { ip: '10.2.0.1', port: 8080 }
/** Requests of the pod. */
export const PER_SECOND = 500
/** Connections that are there before and after; every other request has one of its own. */
export const KEPT = 20
/** Requests between two changes: both states carry some. */
const REQUESTS_BETWEEN = 250
const LOOK_MS = 2

/** One round, fresh processes. Times are of every change, in ms. */
export interface RunningPod {
  readonly load: number
  readonly inMs: readonly number[]
  readonly outMs: readonly number[]
  readonly perSecond: number
  readonly begun: number
  readonly failures: number
}

/** True while new connections of front are brought to its node's ztunnel. */
function isRedirected(lab: MeshLab): boolean {
  const { tables } = readRedirectRules(lab.namespaceOf('front'))
  const nat = tables.find(({ name }) => name === NAT_TABLE)
  return nat?.chains.some(({ rules }) => rules.length > 0) ?? false
}

async function change(lab: MeshLab, isIn: boolean): Promise<number> {
  const startMs = performance.now()
  await lab.enrol('n1', isIn ? ['front', 'batch'] : ['batch'])
  while (isRedirected(lab) !== isIn) {
    if (performance.now() - startMs > 60_000) throw new Error(`not ${isIn ? 'in' : 'out'} within a minute`)
    await wait(LOOK_MS)
  }
  return performance.now() - startMs
}

/** The pod comes in and goes out `changes` times. Needs root. */
export async function measureRunningPod(changes: number): Promise<RunningPod> {
  const load = loadavg()[0] ?? Number.NaN
  const directory = mkdtempSync(join(tmpdir(), 'bench-enrolment-'))
  const lab = await MeshLab.start(directory, labMesh([]), { SIDESTEP_DRAIN_SECONDS: '60' })
  try {
    const requests = new RequestLoad(lab, 'front', { ...TARGET, perSecond: PER_SECOND, kept: KEPT })
    await requests.more(PER_SECOND)
    const [inMs, outMs]: [number[], number[]] = [[], []]
    for (let each = 0; each < changes; each++) {
      outMs.push(await change(lab, false))
      await requests.more(REQUESTS_BETWEEN)
      inMs.push(await change(lab, true))
      await requests.more(REQUESTS_BETWEEN)
    }
    const last = (await lab.records('n1')).length
    await poll('calls are tunnelled', async () => {
      const records = (await lab.records('n1')).slice(Math.max(0, last - 1))
      return records.some(({ transport, reason }) => transport === 'HBONE' && reason === 'OK') || null
    })
    const { ms, begun, answered } = await requests.finish()
    return { load, inMs, outMs, perSecond: (begun * 1000) / ms, begun, failures: begun - answered }
  } finally {
    await lab.close()
    rmSync(directory, { recursive: true, force: true })
  }
}
