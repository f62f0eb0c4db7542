// SPDX-License-Identifier: Apache-2.0
// What a worker knows of the model, by name. A miss is asked of main once, whoever wants it waits; what has changed comes by
// itself and takes the place of what was known.
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { Scheduler, Timer } from '../../mesh/reactor/scheduler.ts'
import { MAX_WAITING, RESOLVE_DEADLINE_MS } from './limits.ts'

/** Waits for an answer; hears it once, in a later turn. */
export type ViewWaiter<View> = (view: View | Refusal) => void

interface Question<View> {
  readonly waiting: Set<ViewWaiter<View>>
  readonly deadline: Timer
}

/** Views of one kind. */
export class KnownViews<View> {
  readonly #scheduler: Scheduler
  readonly #ask: (name: string) => void
  readonly #known = new Map<string, View>()
  readonly #questions = new Map<string, Question<View>>()

  constructor(scheduler: Scheduler, ask: (name: string) => void) {
    this.#scheduler = scheduler
    this.#ask = ask
  }

  get(name: string): View | undefined {
    return this.#known.get(name)
  }

  values(): Iterable<View> {
    return this.#known.values()
  }

  /** Asks main, once for all who wait. */
  request(name: string, waiter: ViewWaiter<View>): void {
    let question = this.#questions.get(name)
    if (question === undefined) {
      const deadline = this.#scheduler.startTimer(RESOLVE_DEADLINE_MS, () =>
        this.#answer(name, refuse('MODEL_TIMEOUT', name)),
      )
      question = { waiting: new Set(), deadline }
      this.#questions.set(name, question)
      this.#ask(name)
    }
    if (question.waiting.size < MAX_WAITING) question.waiting.add(waiter)
    else this.#scheduler.startTimer(0, () => waiter(refuse('LIMIT_POD', 'too many look-ups')))
  }

  /** The waiter has ended: it hears nothing. */
  forget(name: string, waiter: ViewWaiter<View>): void {
    this.#questions.get(name)?.waiting.delete(waiter)
  }

  /** `isKept` false: whoever waits is told, and it is not known any more. */
  learn(name: string, view: View, isKept = true): void {
    if (isKept) this.#known.set(name, view)
    else this.#known.delete(name)
    this.#answer(name, view)
  }

  /** All who wait hear why. */
  close(reason: Refusal): void {
    for (const name of [...this.#questions.keys()]) this.#answer(name, reason)
  }

  #answer(name: string, answer: View | Refusal): void {
    const question = this.#questions.get(name)
    if (question === undefined) return
    this.#questions.delete(name)
    question.deadline.cancel()
    for (const waiter of question.waiting) waiter(answer)
  }
}
