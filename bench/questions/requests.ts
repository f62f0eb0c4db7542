// SPDX-License-Identifier: Apache-2.0
// How many small requests go through, and what does one cost? Closed loop: a client asks again once it is answered.
import { cpuSeconds } from '../measure/process-usage.ts'
import { parseWrkOutput, type WrkResult } from '../measure/wrk-output.ts'
import { type Place, USUAL_PLACE } from '../place.ts'
import { type Figures, SUBJECT_NAMES } from '../results.ts'
import type { RunningSubject } from '../subjects/subject.ts'
import { programTimeoutMs, type Question, type QuestionPart, type Timing } from './question.ts'

const CONNECTIONS = 16

async function runWrk(subject: RunningSubject, seconds: number, timeoutMs: number): Promise<WrkResult> {
  const { lab } = subject
  const url = `http://${lab.web.ip}:${lab.web.port}/`
  const args = ['-t1', `-c${CONNECTIONS}`, `-d${seconds}s`, '--latency', url]
  return parseWrkOutput(await lab.processes.run(lab.client.namespace, 'wrk', args, timeoutMs))
}

async function measure(subject: RunningSubject, timing: Timing): Promise<Figures> {
  const timeoutMs = programTimeoutMs(timing)
  await runWrk(subject, timing.warmUpSeconds, timeoutMs)
  const source = subject.sourcePids()
  const destination = subject.destinationPids()
  const before = [cpuSeconds(source), cpuSeconds(destination)] as const
  const result = await runWrk(subject, timing.seconds, timeoutMs)
  if (result.failures > 0) throw new Error(`${result.failures} of ${result.requests} requests failed`)
  const sourceCpuMicros = ((cpuSeconds(source) - before[0]) * 1e6) / result.requests
  const destinationCpuMicros = ((cpuSeconds(destination) - before[1]) * 1e6) / result.requests
  return {
    requestsPerSecond: result.requestsPerSecond,
    p50Micros: result.p50Micros,
    p99Micros: result.p99Micros,
    cpuMicros: sourceCpuMicros + destinationCpuMicros,
    sourceCpuMicros,
    destinationCpuMicros,
  }
}

/** Small requests, closed loop. */
export const requestsPart = (place: Place): QuestionPart => ({ place, measure })

export const requestsQuestion: Question = {
  name: 'requests',
  subjects: SUBJECT_NAMES,
  isFresh: false,
  parts: [requestsPart(USUAL_PLACE)],
  prepare: () => Promise.resolve(),
}
