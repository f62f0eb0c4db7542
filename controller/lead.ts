// SPDX-License-Identifier: Apache-2.0
// What a replica believes of its own lead, for elections whose lead is lent for a time: it ends by itself, by a clock that
// never steps, whatever the place where it was lent does.
import type { Clock, ClockTimer } from '../mesh/runtime/clock.ts'

export class Lead {
  readonly #clock: Clock
  readonly #monotonicMs: () => number
  readonly #onChange: (fence: string | null) => void
  #fence: string | null = null
  /** Of monotonicMs: until then nobody else can have it. */
  #validUntilMs = 0
  #deadline: ClockTimer | null = null

  /** `onChange` hears the token of every new lead, null when it has ended. */
  constructor(clock: Clock, monotonicMs: () => number, onChange: (fence: string | null) => void) {
    this.#clock = clock
    this.#monotonicMs = monotonicMs
    this.#onChange = onChange
  }

  /** The token while this replica leads, else null. To be asked again after every wait. */
  get fence(): string | null {
    // Asked of the clock, not of the timer: after a pause of the process the timer may not have fired yet.
    return this.#monotonicMs() < this.#validUntilMs ? this.#fence : null
  }

  /** Leads until then, or longer than before. */
  hold(fence: string, validUntilMs: number): void {
    this.#set(fence, validUntilMs)
    const leftMs = validUntilMs - this.#monotonicMs()
    this.#deadline = this.#clock.startTimer(leftMs, () => this.end())
  }

  end(): void {
    this.#set(null, 0)
  }

  #set(fence: string | null, validUntilMs: number): void {
    const before = this.#fence
    this.#fence = fence
    this.#validUntilMs = validUntilMs
    this.#deadline?.cancel()
    this.#deadline = null
    if (before !== fence) this.#onChange(fence)
  }
}
