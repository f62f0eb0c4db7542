// SPDX-License-Identifier: Apache-2.0
// Counts what costs a peer little and us much: early resets (rapid reset, and resets it provokes from us), control
// frames, window updates. Token buckets on the reactor's clock; when one is empty the connection ends.
import { H2_LIMITS } from './limits.ts'

/** Bytes sent per WINDOW_UPDATE a peer may answer with: far finer than any implementation grants windows. */
const BYTES_PER_WINDOW_UPDATE = 1_024
/** A peer may credit stream and connection for each frame. */
const WINDOW_UPDATES_PER_FRAME = 2

/** One per session. Every take… returns false when the peer has gone too far. */
export class FloodGuard {
  #resets: number = H2_LIMITS.resetBurst.value
  #controls: number = H2_LIMITS.controlBurst.value
  #windowUpdates: number = H2_LIMITS.windowUpdateBurst.value
  #refilledMs: number

  constructor(nowMs: number) {
    this.#refilledMs = nowMs
  }

  /** A stream was reset before it was answered, by the peer or by us because of what the peer sent. */
  takeReset(nowMs: number): boolean {
    this.#refill(nowMs)
    return --this.#resets >= 0
  }

  /** PING, SETTINGS, PRIORITY, an unknown or empty frame, or anything for a stream long gone. */
  takeControl(nowMs: number): boolean {
    this.#refill(nowMs)
    return --this.#controls >= 0
  }

  takeWindowUpdate(nowMs: number): boolean {
    this.#refill(nowMs)
    return --this.#windowUpdates >= 0
  }

  /** A DATA frame of ours: the peer has a reason to credit it. */
  noteDataSent(bytes: number): void {
    this.#windowUpdates = Math.min(
      H2_LIMITS.windowUpdateBurst.value,
      this.#windowUpdates + WINDOW_UPDATES_PER_FRAME + bytes / BYTES_PER_WINDOW_UPDATE,
    )
  }

  #refill(nowMs: number): void {
    if (nowMs <= this.#refilledMs) return
    const seconds = (nowMs - this.#refilledMs) / 1_000
    this.#refilledMs = nowMs
    this.#resets = Math.min(H2_LIMITS.resetBurst.value, this.#resets + seconds * H2_LIMITS.resetRate.value)
    this.#controls = Math.min(
      H2_LIMITS.controlBurst.value,
      this.#controls + seconds * H2_LIMITS.controlRate.value,
    )
    this.#windowUpdates = Math.min(
      H2_LIMITS.windowUpdateBurst.value,
      this.#windowUpdates + seconds * H2_LIMITS.windowUpdateRate.value,
    )
  }
}
