// SPDX-License-Identifier: Apache-2.0
// PINGs a tunnel and ends it when the peer stops answering, so that connections do not hang on a dead node.
// SPEC HBONE §3.2: every 10 s, dropped when an answer is missing for 20 s.
import type { H2Session } from '../h2/session.ts'
import type { Scheduler, Timer } from '../reactor/scheduler.ts'
import { HBONE_LIMITS } from './limits.ts'

/** One per tunnel. Stop it when the session has closed. */
export class KeepAlive {
  readonly #session: H2Session
  readonly #scheduler: Scheduler
  #timer: Timer | null = null
  /** When the unanswered PING was sent; −1 = none. */
  #askedMs = -1
  /** Latest round trip; −1 until the first answer. */
  roundTripMs = -1
  // Two closures per tunnel, made once: the timer and the answer.
  readonly #tick = () => this.#onTick()
  readonly #answer = (roundTripMs: number) => {
    this.#askedMs = -1
    this.roundTripMs = roundTripMs
  }

  constructor(session: H2Session, scheduler: Scheduler) {
    this.#session = session
    this.#scheduler = scheduler
    this.#timer = scheduler.startTimer(HBONE_LIMITS.pingInterval.value, this.#tick)
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  #onTick(): void {
    const nowMs = this.#scheduler.nowMs
    if (this.#askedMs >= 0 && nowMs - this.#askedMs >= HBONE_LIMITS.pingTimeout.value) {
      this.#timer = null
      this.#session.destroy({ code: 'PEER_UNRESPONSIVE', detail: 'no answer to PING' })
      return
    }
    if (this.#askedMs < 0 && this.#session.ping(this.#answer)) this.#askedMs = nowMs
    this.#timer = this.#scheduler.startTimer(HBONE_LIMITS.pingInterval.value, this.#tick)
  }
}
