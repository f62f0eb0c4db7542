// SPDX-License-Identifier: Apache-2.0
// First uses of addresses where the model is learnt on demand: each waits, for a bounded time, until the controller has said
// what the address is. Where everything is known anyway nobody waits.
import type { MeshState } from '../mesh/model/mesh-state.ts'
import type { Clock, ClockTimer } from '../mesh/runtime/clock.ts'

/** Wait for a controller to say what an address is; less than workers wait for the answer. */
export const DEMAND_WAIT_MS = 3000

/** What is asked, and whether it has answered. */
export interface DemandSource {
  use(ip: string): void
  /** All is said of the address that is needed to call it. */
  isSettled(ip: string): boolean
  readonly isConnected: boolean
}

/** `isAnswered` false: nobody said anything in time. */
type Waiter = (isAnswered: boolean) => void

interface Question {
  /** By who asks: workers ask again whenever the model changes. */
  readonly waiting: Map<string, Waiter>
  readonly deadline: ClockTimer
}

export class DemandedDestinations {
  readonly #source: DemandSource | null
  readonly #clock: Clock
  readonly #isKnown: (ip: string) => boolean
  readonly #questions = new Map<string, Question>()

  /** `isKnown`: the model in force has something of that address. `source` null: it has all there is. */
  constructor(source: DemandSource | null, clock: Clock, isKnown: (ip: string) => boolean) {
    this.#source = source
    this.#clock = clock
    this.#isKnown = isKnown
  }

  /** Calls back once, now when nothing has to be waited for; of one `asker` only the last time. Workers bound how many wait. */
  when(ip: string, asker: string, waiter: Waiter): void {
    const source = this.#source
    if (source === null) {
      waiter(true)
      return
    }
    source.use(ip)
    // Without a controller what was saved, or came with something else, is all there is.
    if (source.isSettled(ip) || (!source.isConnected && this.#isKnown(ip))) {
      waiter(true)
      return
    }
    const known = this.#questions.get(ip)
    if (known !== undefined) {
      known.waiting.set(asker, waiter)
      return
    }
    const deadline = this.#clock.startTimer(DEMAND_WAIT_MS, () => this.#answer(ip, this.#isKnown(ip)))
    this.#questions.set(ip, { waiting: new Map([[asker, waiter]]), deadline })
  }

  /** The controller has answered something. */
  onAnswers(): void {
    for (const ip of [...this.#questions.keys()]) if (this.#source?.isSettled(ip)) this.#answer(ip, true)
  }

  #answer(ip: string, isAnswered: boolean): void {
    const question = this.#questions.get(ip)
    if (question === undefined) return
    this.#questions.delete(ip)
    question.deadline.cancel()
    for (const waiter of question.waiting.values()) waiter(isAnswered)
  }
}

/** True when a model has something of an address, for whomever. */
export function isAddressKnown(state: MeshState | null, network: string, ip: string): boolean {
  if (state === null) return false
  if (state.workloadByIp(network, ip) !== undefined) return true
  return state.services.some(({ vips }) => vips.some((vip) => vip.network === network && vip.ip === ip))
}
