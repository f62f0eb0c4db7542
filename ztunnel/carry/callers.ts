// SPDX-License-Identifier: Apache-2.0
// The workloads behind the addresses of peers that do not say who they are (no baggage): asked of main, for records and
// labels only, so nothing waits for the answer. An address proves nothing: whoever uses an answer compares identities.
import type { WorkloadFacts } from '../../mesh/model/workload-facts.ts'

/** Addresses kept per worker; the one learnt first goes first. As many questions are open at most. */
const MAX_CALLERS = 4096
/** Tunnels that wait for one answer. */
const MAX_WAITING = 1000

/** Waits for an answer. */
export interface CallerWaiter {
  /** null: the model knows no workload with that address. */
  onCaller(workload: WorkloadFacts | null): void
}

/** The callers of one worker. */
export class Callers {
  readonly #known = new Map<string, WorkloadFacts | null>()
  readonly #questions = new Map<string, Set<CallerWaiter>>()
  readonly #ask: (ip: string) => void

  constructor(ask: (ip: string) => void) {
    this.#ask = ask
  }

  /** null: no workload has that address; undefined: not known here. */
  get(ip: string): WorkloadFacts | null | undefined {
    return this.#known.get(ip)
  }

  /** Asks main, once for all who wait; false: there are too many, and no answer will come. */
  request(ip: string, waiter: CallerWaiter): boolean {
    let waiting = this.#questions.get(ip)
    if (waiting === undefined) {
      if (this.#questions.size >= MAX_CALLERS) return false
      waiting = new Set()
      this.#questions.set(ip, waiting)
      this.#ask(ip)
    }
    if (waiting.size >= MAX_WAITING) return false
    waiting.add(waiter)
    return true
  }

  /** Main's answer. */
  learn(ip: string, workload: WorkloadFacts | null): void {
    if (this.#known.size >= MAX_CALLERS && !this.#known.has(ip)) {
      const oldest = this.#known.keys().next().value
      if (oldest !== undefined) this.#known.delete(oldest)
    }
    this.#known.set(ip, workload)
    const waiting = this.#questions.get(ip) ?? []
    this.#questions.delete(ip)
    for (const waiter of waiting) waiter.onCaller(workload)
  }

  /** The model changed: forget what is known, ask again for what is waited for. */
  invalidate(): void {
    this.#known.clear()
    for (const ip of this.#questions.keys()) this.#ask(ip)
  }
}
