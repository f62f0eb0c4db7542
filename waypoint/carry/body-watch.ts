// SPDX-License-Identifier: Apache-2.0
// Gives up requests whose callers began a body and send nothing more of it. One timer of a worker looks at all connections now
// and then: no request pays for it, and both versions of HTTP have the same limit.

import type { Scheduler, Timer } from '../../mesh/reactor/scheduler.ts'
import { type Member, Members } from '../../mesh/runtime/members.ts'

/** A body is found between one time limit and one and two tenths after its last byte. */
const LOOKS_PER_TIMEOUT = 10

/** One look at everything. */
export interface BodyLook {
  readonly nowMs: number
  /** How long nothing may come. */
  readonly timeoutMs: number
}

/** A connection with requests. */
export interface WatchedConnection extends Member {
  giveUpStalled(look: BodyLook): void
}

/** The connections of one worker. */
export class BodyWatch {
  readonly #scheduler: Scheduler
  readonly #timeoutMs: number
  readonly #connections = new Members<WatchedConnection>()
  #timer: Timer | null = null

  /** `timeoutMs` 0: bodies are waited for for ever. */
  constructor(scheduler: Scheduler, timeoutMs: number) {
    this.#scheduler = scheduler
    this.#timeoutMs = timeoutMs
  }

  add(connection: WatchedConnection): void {
    this.#connections.add(connection)
    if (this.#timeoutMs > 0 && this.#timer === null) this.#startTimer()
  }

  delete(connection: WatchedConnection): void {
    this.#connections.delete(connection)
  }

  close(): void {
    for (const connection of this.#connections.all()) this.#connections.delete(connection)
    this.#timer?.cancel()
    this.#timer = null
  }

  /** It is left to fire once after the last connection: they come and go more often than it does. */
  #startTimer(): void {
    this.#timer = this.#scheduler.startTimer(this.#timeoutMs / LOOKS_PER_TIMEOUT, () => {
      this.#timer = null
      if (this.#connections.size === 0) return
      const look: BodyLook = { nowMs: this.#scheduler.nowMs, timeoutMs: this.#timeoutMs }
      for (const connection of this.#connections.all()) connection.giveUpStalled(look)
      if (this.#connections.size > 0) this.#startTimer()
    })
  }
}
