// SPDX-License-Identifier: Apache-2.0
// Host names that SOCKS5 clients ask for: answered by main from the model. Not kept, because a name is asked for
// once per connection and main is quick.
import type { Scheduler, Timer } from '../../mesh/reactor/scheduler.ts'
import { RESOLVE_DEADLINE_MS } from './destinations.ts'

/** Names waiting for an answer, per pod and worker. */
const MAX_LOOKUPS = 1000

/** Waits for an address; null: no such name. */
export interface HostWaiter {
  connect(ip: string | null): void
}

interface Lookup {
  readonly waiting: HostWaiter[]
  readonly deadline: Timer
}

/** The look-ups of one pod. */
export class HostLookups {
  readonly #lookups = new Map<string, Lookup>()
  readonly #scheduler: Scheduler
  readonly #ask: (host: string) => void

  constructor(scheduler: Scheduler, ask: (host: string) => void) {
    this.#scheduler = scheduler
    this.#ask = ask
  }

  request(host: string, waiter: HostWaiter): void {
    const known = this.#lookups.get(host)
    if (known !== undefined) known.waiting.push(waiter)
    else if (this.#lookups.size >= MAX_LOOKUPS) this.#scheduler.startTimer(0, () => waiter.connect(null))
    else {
      const deadline = this.#scheduler.startTimer(RESOLVE_DEADLINE_MS, () => this.learn(host, null))
      this.#lookups.set(host, { waiting: [waiter], deadline })
      this.#ask(host)
    }
  }

  learn(host: string, ip: string | null): void {
    const lookup = this.#lookups.get(host)
    if (lookup === undefined) return
    this.#lookups.delete(host)
    lookup.deadline.cancel()
    for (const waiter of lookup.waiting) waiter.connect(ip)
  }

  /** Nobody will answer any more. */
  close(): void {
    for (const host of [...this.#lookups.keys()]) this.learn(host, null)
  }
}
