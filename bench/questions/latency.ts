// SPDX-License-Identifier: Apache-2.0
// How long does a request take at a load that all can carry? Open loop: requests come whether or not earlier ones
// are answered, as they do from many users.
import type { OpenLoopOptions, OpenLoopResult } from '../load/open-loop.ts'
import { ALONE } from '../load/turn.ts'
import { cpuSeconds } from '../measure/process-usage.ts'
import { median } from '../measure/statistics.ts'
import { USUAL_PLACE } from '../place.ts'
import { type Figures, SUBJECT_NAMES, type SubjectName } from '../results.ts'
import type { RunningSubject } from '../subjects/subject.ts'
import { LOADS_PERCENT } from './metrics.ts'
import { inTurns, programTimeoutMs, type Question, type QuestionPart, type Timing } from './question.ts'

const CONNECTIONS = 32
/** Closed loops per subject: the median of three does not follow one slow moment. */
const CALIBRATIONS = 3
/** Their slower one sets the load; Envoy may be overrun by it, and then the table shows that. */
const COMPARED: readonly SubjectName[] = ['sidestep', 'ztunnel']

/** Requests at a rate, in its turns; 0: a closed loop. @throws Error when a connection is lost */
export async function runOpenLoop(
  subject: RunningSubject,
  timing: Timing,
  rate: number,
  turn = ALONE,
): Promise<OpenLoopResult> {
  const { lab } = subject
  const options: OpenLoopOptions = { ...timing, target: lab.web, connections: CONNECTIONS, rate, turn }
  const result = await lab.processes.measure<OpenLoopResult>(
    lab.client.namespace,
    'open-loop',
    options,
    programTimeoutMs(inTurns(timing, turn)),
  )
  if (result.failure !== '') throw new Error(result.failure)
  return result
}

/** Keeps the maxima between prepare and the rounds. */
class LatencyPart implements QuestionPart {
  readonly place = USUAL_PLACE
  readonly #maxima = new Map<SubjectName, number>()
  readonly #failures = new Map<SubjectName, unknown>()

  /** The subjects take turns here, too. */
  async calibrate(subjects: readonly RunningSubject[], timing: Timing): Promise<void> {
    const found = new Map<SubjectName, number[]>()
    for (let i = 0; i < CALIBRATIONS; i++) {
      for (const subject of subjects) {
        if (this.#failures.has(subject.name)) continue
        try {
          const { perSecond } = await runOpenLoop(subject, timing, 0)
          found.set(subject.name, [...(found.get(subject.name) ?? []), perSecond])
        } catch (error) {
          this.#failures.set(subject.name, error) // measure() reports it; the others go on
        }
      }
    }
    for (const [name, values] of found) this.#maxima.set(name, median(values))
  }

  async measure(subject: RunningSubject, timing: Timing): Promise<Figures> {
    if (this.#failures.has(subject.name)) throw this.#failures.get(subject.name)
    const figures: Record<string, number> = { maximum: this.#maxima.get(subject.name) ?? Number.NaN }
    for (const load of LOADS_PERCENT) {
      const rate = (this.#base() * load) / 100
      const pids = [...subject.sourcePids(), ...subject.destinationPids()]
      const before = cpuSeconds(pids)
      const result = await runOpenLoop(subject, timing, rate)
      const requests = rate * (timing.seconds + timing.warmUpSeconds)
      figures[`offered${load}`] = rate
      figures[`p50Micros${load}`] = result.p50Micros
      figures[`p99Micros${load}`] = result.p99Micros
      figures[`p999Micros${load}`] = result.p999Micros
      figures[`answeredPercent${load}`] = result.answeredShare * 100
      figures[`sentLateP99Micros${load}`] = result.sentLateP99Micros
      figures[`cpuMicros${load}`] = ((cpuSeconds(pids) - before) * 1e6) / requests
    }
    return figures
  }

  #base(): number {
    const compared = COMPARED.map((name) => this.#maxima.get(name)).filter((maximum) => maximum !== undefined)
    return Math.min(...(compared.length > 0 ? compared : this.#maxima.values()))
  }
}

/** A new one for each run of the benches. */
export function latencyQuestion(): Question {
  const part = new LatencyPart()
  return {
    name: 'latency',
    subjects: SUBJECT_NAMES,
    isFresh: false,
    parts: [part],
    prepare: (subjects, timing) => part.calibrate(subjects, timing),
  }
}
