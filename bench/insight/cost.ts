// SPDX-License-Identifier: Apache-2.0
// What insight costs: both nodes' data processes are profiled while they carry a load, and the time of insight's own files is set against
// all work of their workers.
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Lab } from '../lab.ts'
import { USUAL_PLACE } from '../place.ts'
import { measureConnections } from '../questions/connections.ts'
import type { Timing } from '../questions/question.ts'
import { requestsPart } from '../questions/requests.ts'
import { startSidestep } from '../subjects/sidestep.ts'
import type { RunningSubject } from '../subjects/subject.ts'
import { type CpuProfile, workTimes } from './cpu-share.ts'

const SAMPLE_MICROS = 500

/** Of one load, in percent of all work of the workers. */
export interface InsightCost {
  readonly what: string
  readonly recordsPercent: number
  readonly otherPercent: number
}

type Measure = (running: RunningSubject, timing: Timing) => Promise<unknown>

const LOADS: readonly (readonly [what: string, measure: Measure])[] = [
  ['requests on connections that stay', requestsPart(USUAL_PLACE).measure],
  ['a connection for each request', measureConnections],
]

/** Each load in a lab of its own. `path`: of the children. */
export async function measureInsightCost(path: string, seconds: number): Promise<InsightCost[]> {
  const costs: InsightCost[] = []
  for (const [what, measure] of LOADS) costs.push(await measureLoad(what, measure, path, seconds))
  return costs
}

async function measureLoad(
  what: string,
  measure: Measure,
  path: string,
  seconds: number,
): Promise<InsightCost> {
  const directory = await mkdtemp(join(tmpdir(), 'sidestep-profiles-'))
  try {
    const options = `--cpu-prof --cpu-prof-dir=${directory} --cpu-prof-interval=${SAMPLE_MICROS}`
    const lab = await Lab.open({ path, place: USUAL_PLACE })
    let pids: readonly number[] = []
    try {
      const running = await startSidestep(lab, { NODE_OPTIONS: options })
      await lab.reachable()
      const { source, destination } = running.dataPids()
      pids = [...source, ...destination]
      await measure(running, { warmUpSeconds: 1, seconds })
    } finally {
      await lab.close() // ends them in order: they write their profiles then
    }
    return { what, ...(await readCosts(directory, pids)) }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

/** Main's insight counts, its other work does not: most of that is its start. @throws Error without profiles of workers */
async function readCosts(directory: string, pids: readonly number[]): Promise<Omit<InsightCost, 'what'>> {
  let [busyMs, recordsMs, otherMs] = [0, 0, 0]
  for (const name of await readdir(directory)) {
    // CPU.<date>.<time>.<pid>.<thread>.<count>.cpuprofile
    const [, , , pid, thread] = name.split('.')
    if (!pids.includes(Number(pid))) continue
    const times = workTimes(JSON.parse(await readFile(join(directory, name), 'utf8')) as CpuProfile) // as: Node's own
    recordsMs += times.recordsMs
    otherMs += times.otherInsightMs
    if (thread !== '0') busyMs += times.busyMs
  }
  if (busyMs === 0) throw new Error('no worker left a profile')
  return { recordsPercent: (100 * recordsMs) / busyMs, otherPercent: (100 * otherMs) / busyMs }
}
