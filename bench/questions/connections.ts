// SPDX-License-Identifier: Apache-2.0
// How many connections can be opened, used once and closed, and what does one cost? Always in new namespaces: the
// third run in the same ones would measure the kernel's table of connections in TIME_WAIT.
import type { ChurnOptions, ChurnResult } from '../load/churn.ts'
import { cpuSeconds } from '../measure/process-usage.ts'
import { USUAL_PLACE } from '../place.ts'
import { type Figures, SUBJECT_NAMES } from '../results.ts'
import type { RunningSubject } from '../subjects/subject.ts'
import { programTimeoutMs, type Question, type Timing } from './question.ts'

const CLIENTS = 32
/** A process just started has compiled little of its code: after three ordinary warm-ups its costs no longer fall. */
const WARM_UPS = 3
/** A share of failures that cannot be chance: the figure would be of something else. */
const MAX_FAILED_SHARE = 0.001

/** @throws Error when more fail than chance explains */
export async function measureConnections(subject: RunningSubject, timing: Timing): Promise<Figures> {
  const { lab } = subject
  const options: ChurnOptions = { ...timing, target: lab.web, clients: CLIENTS, sources: lab.sources }
  const run = (of: ChurnOptions): Promise<ChurnResult> =>
    lab.processes.measure<ChurnResult>(lab.client.namespace, 'churn', of, programTimeoutMs(timing))
  // The warm-up is a run of its own, so that CPU time and connections are of the same time.
  await run({ ...options, warmUpSeconds: 0, seconds: timing.warmUpSeconds * WARM_UPS })
  const pids = [...subject.sourcePids(), ...subject.destinationPids()]
  const before = cpuSeconds(pids)
  const result = await run({ ...options, warmUpSeconds: 0 })
  if (result.failures > result.connections * MAX_FAILED_SHARE) {
    throw new Error(
      `${result.failures} of ${result.connections} connections failed, the first: ${result.failure}`,
    )
  }
  return {
    connectionsPerSecond: result.perSecond,
    p50Micros: result.p50Micros,
    p99Micros: result.p99Micros,
    cpuMicros: ((cpuSeconds(pids) - before) * 1e6) / result.connections,
    failures: result.failures,
  }
}

export const connectionsQuestion: Question = {
  name: 'connections',
  subjects: SUBJECT_NAMES,
  isFresh: true,
  parts: [{ place: USUAL_PLACE, measure: measureConnections }],
  prepare: () => Promise.resolve(),
}
