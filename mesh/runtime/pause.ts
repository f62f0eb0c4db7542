// SPDX-License-Identifier: Apache-2.0
// A wait that can be cut short, for loops that look again now and then, or at once when they are told to.
import type { Clock } from './clock.ts'

export class Pause {
  readonly #clock: Clock
  #wake: () => void = () => undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Resolves after `ms`, or when wake() is called meanwhile. One at a time. */
  async wait(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = this.#clock.startTimer(ms, resolve)
    this.#wake = resolve
    await promise
    timer.cancel()
    this.#wake = () => undefined
  }

  /** Ends the wait there is; nothing when there is none. */
  wake(): void {
    this.#wake()
  }
}
