// SPDX-License-Identifier: Apache-2.0
// Looks after a connection of which one half has ended: when nothing moves on the other half for too long, nobody will
// ever end it. Looks now and then instead of noting each byte: moving bytes stays free of it.
import type { Scheduler, Timer } from './scheduler.ts'
import type { Keepalive } from './socket-options.ts'

/** How often a half-closed connection is looked at, at least. */
export const HALF_CLOSED_LOOK_MS = 20_000
// Where a connection is redirected, or marked, its packets mean nothing without the kernel's entry of it, which goes after a
// minute of silence (nf_conntrack_tcp_timeout_close_wait) where that of an open one stays for days. See
// test/netns/ztunnel-half-closed.ts.
/** The peers of a half-closed connection are asked for so often: the kernel forgets it after a minute, also if one is lost. */
export const HALF_CLOSED_ASK_MS = 20_000
/** SPEC tcp(7): of TCP_KEEPCNT. */
const MAX_PROBES = 127

/** When connections that are half closed have to end. */
export interface HalfClosePolicy {
  readonly scheduler: Scheduler
  /** Infinity: never. */
  readonly timeoutMs: number
  /** How peers are asked for meanwhile: `halfClosedKeepalive`. */
  readonly keepalive: Keepalive
}

/** Asks often enough for half-closed connections, and gives up when the other settings would, as far as it can. Pure. */
export function halfClosedKeepalive({ idleSeconds, intervalSeconds, probes }: Keepalive): Keepalive {
  const idle = Math.min(idleSeconds, HALF_CLOSED_ASK_MS / 1000)
  const interval = Math.min(intervalSeconds, HALF_CLOSED_ASK_MS / 1000)
  const goneSeconds = idleSeconds + intervalSeconds * probes
  const needed = Math.ceil((goneSeconds - idle) / interval)
  return { idleSeconds: idle, intervalSeconds: interval, probes: Math.min(MAX_PROBES, needed) }
}

/** One connection. Made when its first half ends, stopped when it is closed. */
export class HalfCloseWatch {
  readonly #policy: HalfClosePolicy
  readonly #countBytes: () => number
  readonly #onLasting: () => void
  readonly #onTimeout: () => void
  readonly #lookMs: number
  #timer: Timer
  #bytes: number
  #movedMs: number

  #isLasting = false

  /** `countBytes`: all that has moved so far, both ways. `onLasting`: it is more than the end of a connection; once. */
  constructor(
    policy: HalfClosePolicy,
    countBytes: () => number,
    onLasting: () => void,
    onTimeout: () => void,
  ) {
    this.#policy = policy
    this.#countBytes = countBytes
    this.#onLasting = onLasting
    this.#onTimeout = onTimeout
    this.#lookMs = Math.min(HALF_CLOSED_LOOK_MS, policy.timeoutMs)
    this.#bytes = countBytes()
    this.#movedMs = policy.scheduler.nowMs
    this.#timer = policy.scheduler.startTimer(this.#lookMs, () => this.#look())
  }

  /** How long nothing has moved; at most HALF_CLOSED_LOOK_MS less than it is in truth. */
  get stalledMs(): number {
    return this.#countBytes() === this.#bytes ? this.#policy.scheduler.nowMs - this.#movedMs : 0
  }

  stop(): void {
    this.#timer.cancel()
  }

  #look(): void {
    const { nowMs } = this.#policy.scheduler
    const bytes = this.#countBytes()
    if (bytes !== this.#bytes) {
      this.#bytes = bytes
      this.#movedMs = nowMs
    }
    const leftMs = this.#policy.timeoutMs - (nowMs - this.#movedMs)
    if (leftMs <= 0) {
      this.#onTimeout()
      return
    }
    this.#timer = this.#policy.scheduler.startTimer(Math.min(this.#lookMs, leftMs), () => this.#look())
    if (this.#isLasting) return
    this.#isLasting = true
    this.#onLasting()
  }
}
