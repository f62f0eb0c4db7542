// SPDX-License-Identifier: Apache-2.0
// How do requests get through our waypoint beside Envoy? Both in one lab, asked in turn; a row for each.
import { cpuSeconds, residentKb } from '../measure/process-usage.ts'
import { rotate } from '../measure/statistics.ts'
import type { Timing } from '../questions/question.ts'
import { type Figures, publicReason, type Row, type Sample } from '../results.ts'
import type { RunPlan } from '../runner.ts'
import { CASES, ONE_ROUTE, WAYPOINTS, type Waypoint } from './cases.ts'
import { BIG_BYTES } from './servers.ts'
import { type Load, WaypointLab } from './waypoint-lab.ts'

const CONNECTIONS = 32

/** One run of the load and what it cost the waypoint. */
interface Run {
  readonly requestsPerSecond: number
  readonly p50Micros: number
  readonly p99Micros: number
  readonly cpuMicros: number
  /** How much of its processor the waypoint used. */
  readonly corePercent: number
  /** Of the process that carries the requests, at the end. */
  readonly residentMb: number
}

async function measureRun(lab: WaypointLab, load: Omit<Load, 'seconds'>, timing: Timing): Promise<Run> {
  await lab.load({ ...load, seconds: timing.warmUpSeconds })
  const pids = lab.pids(load.waypoint)
  const startedMs = performance.now()
  const before = cpuSeconds(pids)
  const { requests, requestsPerSecond, p50Micros, p99Micros } = await lab.load({
    ...load,
    seconds: timing.seconds,
  })
  const used = cpuSeconds(pids) - before
  return {
    ...{ requestsPerSecond, p50Micros, p99Micros },
    cpuMicros: (used * 1e6) / requests,
    corePercent: (used * 100_000) / (performance.now() - startedMs),
    residentMb: residentKb([lab.dataPid(load.waypoint)]) / 1024,
  }
}

/** All figures of one waypoint in one round. */
async function measure(lab: WaypointLab, waypoint: Waypoint, timing: Timing): Promise<Figures> {
  let figures: Figures = {}
  for (const of of CASES) {
    const run = await measureRun(lab, { waypoint, of, file: 'small', connections: CONNECTIONS }, timing)
    for (const [key, value] of Object.entries(run)) figures = { ...figures, [`${key}${of.key}`]: value }
  }
  const load = { waypoint, of: ONE_ROUTE, file: 'big', connections: CONNECTIONS } as const
  const big = await measureRun(lab, load, timing)
  return {
    ...figures,
    gbitPerSecond: (big.requestsPerSecond * BIG_BYTES * 8) / 1e9,
    cpuSecondsPerGb: (big.cpuMicros * 1e3) / BIG_BYTES,
    corePercentBig: big.corePercent,
    residentMbBig: big.residentMb,
  }
}

/** A row for each; what cannot be measured is the failure of both. @throws when the run is aborted */
export async function askWaypoint(
  envoy: string,
  busyPercent: number,
  plan: RunPlan,
): Promise<Readonly<Record<Waypoint, Row>>> {
  const samples: Readonly<Record<Waypoint, Sample[]>> = { sidestep: [], envoy: [] }
  let failure = ''
  let lab: WaypointLab | null = null
  const end = (): void => void lab?.close()
  plan.signal.addEventListener('abort', end)
  try {
    lab = await WaypointLab.open(envoy, plan.path)
    // What is asked first would else be asked of code that is not compiled yet.
    for (const waypoint of WAYPOINTS) await measure(lab, waypoint, plan.timing)
    for (let round = 0; round < plan.rounds; round++) {
      for (const waypoint of rotate(WAYPOINTS, round)) {
        plan.signal.throwIfAborted()
        const figures = await measure(lab, waypoint, plan.timing)
        samples[waypoint].push({ round, figures })
        plan.say(`waypoint ${round + 1} ${waypoint}: ${JSON.stringify(figures)}`)
      }
    }
  } catch (error) {
    plan.signal.throwIfAborted()
    const text = error instanceof Error ? error.message : String(error)
    plan.say(`waypoint: ${text}`)
    failure = publicReason(text)
  } finally {
    plan.signal.removeEventListener('abort', end)
    await lab?.close()
  }
  const { run, date, commit, timing } = plan
  const row = (waypoint: Waypoint): Row => ({
    ...{ run, date, commit, seconds: timing.seconds, busyPercent, failure },
    samples: samples[waypoint],
  })
  return { sidestep: row('sidestep'), envoy: row('envoy') }
}
