// SPDX-License-Identifier: Apache-2.0
// Asks questions in rounds: in each round every subject in turn, another one first each time. What cannot be
// measured ends that subject's part of the question, never the run.
import { Lab } from './lab.ts'
import { busyPercent } from './measure/machine.ts'
import { rotate } from './measure/statistics.ts'
import { needsTunnel, type Place, USUAL_PLACE } from './place.ts'
import type { Question, Timing } from './questions/question.ts'
import { MAX_BUSY_PERCENT } from './report.ts'
import { type Figures, publicReason, type Row, type Sample, type SubjectName } from './results.ts'
import type { RunningSubject, Subject } from './subjects/subject.ts'

/** How to run. */
export interface RunPlan {
  readonly rounds: number
  readonly timing: Timing
  /** PATH of everything started. */
  readonly path: string
  /** What the rows say of this run. */
  readonly run: string
  readonly date: string
  readonly commit: string
  readonly signal: AbortSignal
  readonly say: (text: string) => void
}

interface Collected {
  readonly samples: Sample[]
  failure: string
}

/** Owns the labs of all subjects. */
export class Runner {
  readonly #plan: RunPlan
  readonly #subjects: readonly Subject[]
  readonly #running = new Map<SubjectName, RunningSubject>()
  readonly #labs = new Set<Lab>()

  constructor(subjects: readonly Subject[], plan: RunPlan) {
    this.#subjects = subjects
    this.#plan = plan
  }

  /** A row for each subject. Throws only when the run is aborted. */
  async ask(question: Question): Promise<Partial<Record<SubjectName, Row>>> {
    const asked = this.#subjects.filter(({ name }) => question.subjects.includes(name))
    const collected = new Map<SubjectName, Collected>(
      asked.map(({ name }) => [name, { samples: [], failure: '' }]),
    )
    if (question.isFresh) await this.close() // those that stay up would only be in the way
    const up = question.isFresh ? [] : await this.#startAll(collected)
    const busy = await this.#busyPercent()
    if (!question.isFresh) await question.prepare(up, this.#plan.timing)
    for (let round = 0; round < this.#plan.rounds; round++) {
      for (const subject of rotate(asked, round)) {
        const of = collected.get(subject.name)
        if (of === undefined || of.failure !== '') continue
        const figures = await this.#attempt(subject.name, of, () => this.#figures(question, subject))
        if (figures === null) await this.#giveUp(subject.name)
        else {
          of.samples.push({ round, figures })
          this.#plan.say(`${question.name} ${round + 1} ${subject.name}: ${formatFigures(figures)}`)
        }
      }
    }
    const { run, date, commit, timing } = this.#plan
    return Object.fromEntries(
      [...collected].map(([name, of]) => [
        name,
        { run, date, commit, seconds: timing.seconds, busyPercent: busy, ...of },
      ]),
    )
  }

  /** Ends everything that was started. Idempotent. */
  async close(): Promise<void> {
    this.#running.clear()
    const labs = [...this.#labs]
    this.#labs.clear()
    await Promise.all(labs.map((lab) => lab.close()))
  }

  /** A subject that failed is not asked again as it is: the next question starts it anew. */
  async #giveUp(name: SubjectName): Promise<void> {
    const lab = this.#running.get(name)?.lab
    this.#running.delete(name)
    if (lab === undefined) return
    this.#labs.delete(lab)
    await lab.close()
  }

  /** What the machine does while the subjects wait: figures of a busy one say little, so the page tells. */
  async #busyPercent(): Promise<number> {
    // The lesser of two: the subjects have just been started, and settle.
    const percent = Math.min(await busyPercent(), await busyPercent())
    if (percent > MAX_BUSY_PERCENT)
      this.#plan.say(`the machine is ${percent} % busy: the figures will say little`)
    return percent
  }

  /** Subjects that stay up from question to question. */
  async #startAll(collected: ReadonlyMap<SubjectName, Collected>): Promise<RunningSubject[]> {
    const up: RunningSubject[] = []
    for (const subject of this.#subjects) {
      const of = collected.get(subject.name)
      if (of === undefined) continue
      const running = await this.#attempt(subject.name, of, async () => {
        const known = this.#running.get(subject.name) ?? (await this.#start(subject, USUAL_PLACE))
        this.#running.set(subject.name, known)
        return known
      })
      if (running !== null) up.push(running)
    }
    return up
  }

  async #figures(question: Question, subject: Subject): Promise<Figures> {
    let figures: Figures = {}
    for (const part of question.parts) {
      if (question.isFresh) {
        const running = await this.#start(subject, part.place)
        try {
          figures = { ...figures, ...(await part.measure(running, this.#plan.timing)) }
        } finally {
          this.#labs.delete(running.lab)
          await running.lab.close()
        }
      } else {
        const running = this.#running.get(subject.name)
        if (running === undefined) throw new Error(`${subject.name} is not up`)
        figures = { ...figures, ...(await part.measure(running, this.#plan.timing)) }
      }
    }
    return subject.name === 'direct' ? withoutCpu(figures) : figures
  }

  async #start(subject: Subject, place: Place): Promise<RunningSubject> {
    this.#plan.signal.throwIfAborted()
    const lab = await Lab.open({ path: this.#plan.path, place })
    this.#labs.add(lab)
    try {
      const running = await subject.start(lab)
      await lab.reachable()
      if (subject.name !== 'direct' && needsTunnel(place) && lab.tunnelCount() === 0) {
        throw new Error('the server answers, but not through a tunnel')
      }
      return running
    } catch (error) {
      this.#labs.delete(lab)
      await lab.close()
      throw error
    }
  }

  /** Null and a reason instead of an exception, unless the run was aborted. */
  async #attempt<T>(name: SubjectName, of: Collected, action: () => Promise<T>): Promise<T | null> {
    try {
      const result = await action()
      this.#plan.signal.throwIfAborted()
      return result
    } catch (error) {
      this.#plan.signal.throwIfAborted()
      const text = error instanceof Error ? error.message : String(error)
      this.#plan.say(`${name}: ${text}`)
      of.failure = publicReason(text)
      return null
    }
  }
}

/** Nobody stands between client and server: a zero would look like a measurement. */
function withoutCpu(figures: Figures): Figures {
  return Object.fromEntries(Object.entries(figures).filter(([key]) => !/cpu/i.test(key)))
}

function formatFigures(figures: Figures): string {
  const parts = Object.entries(figures).map(([key, value]) => `${key} ${Number(value.toPrecision(4))}`)
  return parts.join(', ')
}
