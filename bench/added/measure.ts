// SPDX-License-Identifier: Apache-2.0
// Requests through each subject in turn, a tenth of a second each, so that what the machine does beside falls on all of them and
// none waits for the programs of another: first with nobody else there, then beside a neighbour that moves data through one.
import { Lab } from '../lab.ts'
import { USUAL_PLACE } from '../place.ts'
import { runOpenLoop } from '../questions/latency.ts'
import { REQUESTS_PER_SECOND, runNeighbour } from '../questions/neighbour.ts'
import { inTurns, type Timing } from '../questions/question.ts'
import type { SubjectName } from '../results.ts'
import type { RunningSubject, Subject } from '../subjects/subject.ts'

/** Of one subject, in microseconds. */
export interface Latency {
  readonly p50: number
  readonly p99: number
}

export type Latencies = ReadonlyMap<SubjectName, Latency>

/** One round. */
export interface Round {
  /** Processes that wanted a core in the minute before. */
  readonly load: number
  readonly alone: Latencies
  /** While a neighbour moves data through the subject that is the key. */
  readonly beside: ReadonlyMap<SubjectName, Latencies>
}

/** Subjects that are up, each in a lab of its own. */
export class SideBySide {
  readonly #running: RunningSubject[] = []
  readonly #labs: Lab[] = []

  get names(): readonly SubjectName[] {
    return this.#running.map(({ name }) => name)
  }

  /** @throws Error when one does not come up; close() ends the others */
  async start(subjects: readonly Subject[], path: string): Promise<void> {
    for (const subject of subjects) {
      const lab = await Lab.open({ path, place: { ...USUAL_PLACE, hasNeighbour: true } })
      this.#labs.push(lab)
      this.#running.push(await subject.start(lab))
      await lab.reachable()
    }
  }

  /** Requests through all in turn, with the same arrivals. `timing` is of each. */
  async latencies(timing: Timing): Promise<Latencies> {
    const of = this.#running.length
    const found = this.#running.map(async (subject, index) => {
      const turn = { index, of }
      const { p50Micros, p99Micros } = await runOpenLoop(subject, timing, REQUESTS_PER_SECOND, turn)
      return [subject.name, { p50: p50Micros, p99: p99Micros }] as const
    })
    return new Map(await Promise.all(found))
  }

  /** The same while a neighbour moves data through `name`. */
  async latenciesBeside(name: SubjectName, timing: Timing): Promise<Latencies> {
    const talked = this.#running.find((subject) => subject.name === name)
    if (talked === undefined) throw new Error(`${name} is not up`)
    const whole = inTurns(timing, { index: 0, of: this.#running.length })
    const [latencies] = await Promise.all([this.latencies(timing), runNeighbour(talked, whole)])
    return latencies
  }

  async close(): Promise<void> {
    await Promise.all(this.#labs.map((lab) => lab.close()))
  }
}
