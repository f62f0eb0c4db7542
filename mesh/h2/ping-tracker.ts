// SPDX-License-Identifier: Apache-2.0
// PINGs of ours that wait for their answer. Spec: RFC 9113 §6.7.
import { H2_LIMITS } from './limits.ts'

/** First half of our pings' opaque bytes ("side"), so that a capture shows whose they are. */
export const PING_MARK = 0x73_69_64_65

interface Outstanding {
  readonly id: number
  readonly sentMs: number
  readonly callback: (roundTripMs: number) => void
}

/** One per session; takes memory with the first ping. */
export class PingTracker {
  #nextId = 1
  #outstanding: Outstanding[] | null = null

  /** Registers a ping and returns the second half of its bytes, or −1 when too many are unanswered. */
  start(nowMs: number, callback: (roundTripMs: number) => void): number {
    if (this.#outstanding === null) this.#outstanding = []
    if (this.#outstanding.length >= H2_LIMITS.outstandingPings.value) return -1
    const id = this.#nextId++ & MAX_ID
    this.#outstanding.push({ id, sentMs: nowMs, callback })
    return id
  }

  /** An acknowledgement. Returns false when nobody waits for it. */
  acknowledge(mark: number, id: number, nowMs: number): boolean {
    const at =
      mark === PING_MARK && this.#outstanding !== null ? this.#outstanding.findIndex((p) => p.id === id) : -1
    const [ping] = at < 0 || this.#outstanding === null ? [] : this.#outstanding.splice(at, 1)
    if (ping === undefined) return false
    ping.callback(nowMs - ping.sentMs)
    return true
  }

  /** Forgets everything: the callbacks never come. */
  clear(): void {
    this.#outstanding = null
  }
}

const MAX_ID = 0x7fff_ffff
