// SPDX-License-Identifier: Apache-2.0
// Destinations in use by one pod in one worker. The model lives in main: a miss is asked for once, whoever wants it
// waits, a new model voids everything.

import type { Demotions } from '../../mesh/balance/demotions.ts'
import { DestinationPicker, type PassedOver } from '../../mesh/balance/destination-picker.ts'
import { leastStreams, type StreamLoads } from '../../mesh/balance/least-streams.ts'
import type { MakePicker } from '../../mesh/balance/picker.ts'
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { DestinationView } from '../../mesh/model/destination.ts'
import { formatSocketAddress } from '../../mesh/net/address.ts'
import type { Scheduler, Timer } from '../../mesh/reactor/scheduler.ts'

/** Destinations kept per pod and worker; the one learnt first goes first. */
const MAX_DESTINATIONS = 4096
/** Connections waiting for one answer. */
const MAX_WAITING = 10_000
/** Main answers within a millisecond; a workload that is not configured yet may come within this. */
export const RESOLVE_DEADLINE_MS = 5000

/** A destination and the state of its balancing. */
export interface KnownDestination {
  readonly view: DestinationView
  readonly picker: DestinationPicker
}

/** Waits for an answer. */
export interface DestinationWaiter {
  onDestination(destination: KnownDestination | Refusal): void
}

interface Question {
  readonly waiting: Set<DestinationWaiter>
  readonly deadline: Timer
}

/** The destinations of one pod. */
export class Destinations {
  readonly #known = new Map<string, KnownDestination>()
  readonly #questions = new Map<string, Question>()
  readonly #scheduler: Scheduler
  readonly #ask: (ip: string, port: number) => void
  readonly #passedOver: PassedOver
  readonly #makeInstancePicker: MakePicker

  /** `streams`: what there is to instances of waypoints. */
  constructor(
    scheduler: Scheduler,
    demotions: Demotions,
    streams: StreamLoads,
    ask: (ip: string, port: number) => void,
  ) {
    this.#passedOver = {
      get isEmpty() {
        return demotions.isQuiet(scheduler.nowMs)
      },
      avoids: (key) => demotions.avoids(key, scheduler.nowMs),
    }
    this.#makeInstancePicker = leastStreams(streams)
    this.#scheduler = scheduler
    this.#ask = ask
  }

  /** What is known, or undefined. */
  get(ip: string, port: number): KnownDestination | undefined {
    return this.#known.get(keyOf(ip, port))
  }

  /** Asks main, once for all who wait; `waiter` hears the answer in a later turn. */
  request(ip: string, port: number, waiter: DestinationWaiter): void {
    const key = keyOf(ip, port)
    let question = this.#questions.get(key)
    if (question === undefined) {
      const deadline = this.#scheduler.startTimer(RESOLVE_DEADLINE_MS, () => {
        this.#answer(
          key,
          refuse('MODEL_TIMEOUT', `${formatSocketAddress(ip, port)}: the workload is not configured`),
        )
      })
      question = { waiting: new Set(), deadline }
      this.#questions.set(key, question)
      this.#ask(ip, port)
    }
    if (question.waiting.size < MAX_WAITING) question.waiting.add(waiter)
    else this.#scheduler.startTimer(0, () => waiter.onDestination(refuse('LIMIT_POD', 'too many look-ups')))
  }

  /** The waiter has ended: it hears nothing. */
  forget(ip: string, port: number, waiter: DestinationWaiter): void {
    this.#questions.get(keyOf(ip, port))?.waiting.delete(waiter)
  }

  /** A destination that main need not be asked for; it is not kept. */
  known(view: DestinationView): KnownDestination {
    const picker = new DestinationPicker(view, Math.random, this.#passedOver, this.#makeInstancePicker)
    return { view, picker }
  }

  /** Main's answer. */
  learn(view: DestinationView): void {
    const key = keyOf(view.ip, view.port)
    const destination = this.known(view)
    if (this.#known.size >= MAX_DESTINATIONS && !this.#known.has(key)) {
      const oldest = this.#known.keys().next().value
      if (oldest !== undefined) this.#known.delete(oldest)
    }
    this.#known.set(key, destination)
    this.#answer(key, destination)
  }

  /** Main has no answer: who waits hears why, and who comes next asks again. */
  refuse(ip: string, port: number, refusal: Refusal): void {
    this.#answer(keyOf(ip, port), refusal)
  }

  /** The model changed: forget what is known, ask again for what is waited for. */
  invalidate(): void {
    this.#known.clear()
    for (const key of this.#questions.keys()) {
      const at = key.lastIndexOf('|')
      this.#ask(key.slice(0, at), Number(key.slice(at + 1)))
    }
  }

  close(reason: Refusal): void {
    for (const key of [...this.#questions.keys()]) this.#answer(key, reason)
    this.#known.clear()
  }

  #answer(key: string, answer: KnownDestination | Refusal): void {
    const question = this.#questions.get(key)
    if (question === undefined) return
    this.#questions.delete(key)
    question.deadline.cancel()
    for (const waiter of question.waiting) waiter.onDestination(answer)
  }
}

function keyOf(ip: string, port: number): string {
  return `${ip}|${port}`
}
