// SPDX-License-Identifier: Apache-2.0
// Which names are the mesh's, as one pod in one worker has learnt it. The model lives in main: a name is asked for once,
// whoever wants it waits, a new model voids everything.
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { Scheduler, Timer } from '../../mesh/reactor/scheduler.ts'
import { RESOLVE_DEADLINE_MS } from '../carry/destinations.ts'
import type { DnsRecord } from './dns-message.ts'

/** Names kept per pod and worker; the one not asked for longest goes first. */
const MAX_VERDICTS = 1024
/** Names that main has not answered yet. */
const MAX_QUESTIONS = 256
/** Questions that wait for those answers. */
const MAX_WAITING = 1024

/** Records of the mesh; null: not ours, the pod's resolver answers. */
export type NameVerdict = readonly DnsRecord[] | null

/** Waits for a verdict. */
export interface VerdictWaiter {
  onVerdict(verdict: NameVerdict | Refusal): void
}

interface Question {
  readonly waiting: VerdictWaiter[]
  readonly deadline: Timer
}

/** The names one pod asks for. */
export class NameVerdicts {
  readonly #known = new Map<string, NameVerdict>()
  readonly #questions = new Map<string, Question>()
  readonly #scheduler: Scheduler
  readonly #ask: (name: string, queryType: number) => void
  #waitingCount = 0

  constructor(scheduler: Scheduler, ask: (name: string, queryType: number) => void) {
    this.#scheduler = scheduler
    this.#ask = ask
  }

  /** What is known, or undefined. */
  get(name: string, queryType: number): NameVerdict | undefined {
    const key = keyOf(name, queryType)
    const verdict = this.#known.get(key)
    if (verdict === undefined) return undefined
    this.#known.delete(key)
    this.#known.set(key, verdict)
    return verdict
  }

  /** Asks main; `waiter` hears the answer in a later turn. A refusal when too many wait already. */
  request(name: string, queryType: number, waiter: VerdictWaiter): Refusal | null {
    const key = keyOf(name, queryType)
    const asked = this.#questions.get(key)
    const isFull = asked === undefined && this.#questions.size >= MAX_QUESTIONS
    if (isFull || this.#waitingCount >= MAX_WAITING) return refuse('LIMIT_POD', 'too many names at once')
    this.#waitingCount++
    if (asked !== undefined) {
      asked.waiting.push(waiter)
      return null
    }
    const deadline = this.#scheduler.startTimer(RESOLVE_DEADLINE_MS, () =>
      this.#answer(key, refuse('MODEL_TIMEOUT', name)),
    )
    this.#questions.set(key, { waiting: [waiter], deadline })
    this.#ask(name, queryType)
    return null
  }

  /** Main's answer. */
  learn(name: string, queryType: number, verdict: NameVerdict): void {
    const key = keyOf(name, queryType)
    if (this.#known.size >= MAX_VERDICTS && !this.#known.has(key)) {
      const oldest = this.#known.keys().next().value
      if (oldest !== undefined) this.#known.delete(oldest)
    }
    this.#known.set(key, verdict)
    this.#answer(key, verdict)
  }

  /** The model changed. Main answers from the new one what it is asked, so nothing is asked again. */
  invalidate(): void {
    this.#known.clear()
  }

  close(reason: Refusal): void {
    for (const key of [...this.#questions.keys()]) this.#answer(key, reason)
    this.#known.clear()
  }

  #answer(key: string, verdict: NameVerdict | Refusal): void {
    const question = this.#questions.get(key)
    if (question === undefined) return
    this.#questions.delete(key)
    question.deadline.cancel()
    this.#waitingCount -= question.waiting.length
    for (const waiter of question.waiting) waiter.onVerdict(verdict)
  }
}

function keyOf(name: string, queryType: number): string {
  return `${queryType}|${name}`
}
