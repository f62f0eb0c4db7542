// SPDX-License-Identifier: Apache-2.0
// Has the rules of a pod looked at as soon as somebody changed the tables of its namespace, not only when their time comes.
// Whoever changes them all the time is not followed more often than it is worth.
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { TableEvents } from '../../../mesh/reactor/netlink/table-events.ts'
import type { NetworkNamespace } from '../../../mesh/reactor/netns.ts'
import type { Clock, ClockTimer } from '../../../mesh/runtime/clock.ts'
import type { Log } from '../../../mesh/runtime/log.ts'

/** From a change to the look at it: most come several at once. */
const SETTLE_MS = 20
/** From one look at a pod to the next one. */
const MIN_INTERVAL_MS = 500

/** Hears of changes in a namespace; the other end of TableEvents. */
export type OpenEvents = (namespace: NetworkNamespace, onChanged: () => void) => { close(): void }

interface Watched {
  readonly events: { close(): void }
  timer: ClockTimer | null
  lookedMs: number
}

/** All pods of a node. */
export class TableWatch {
  readonly #clock: Clock
  readonly #log: Log
  readonly #onChanged: (uid: string) => void
  readonly #open: OpenEvents
  readonly #watched = new Map<string, Watched>()

  /** `onChanged`: look at this pod now. */
  constructor(
    clock: Clock,
    log: Log,
    onChanged: (uid: string) => void,
    open: OpenEvents = (...pod) => new TableEvents(...pod),
  ) {
    this.#clock = clock
    this.#log = log
    this.#onChanged = onChanged
    this.#open = open
  }

  /** Instead of what was watched for this pod. A pod that cannot be watched is looked at in its time as before. */
  watch(uid: string, namespace: NetworkNamespace): void {
    this.forget(uid)
    try {
      const events = this.#open(namespace, () => this.#changed(uid))
      this.#watched.set(uid, { events, timer: null, lookedMs: Number.NEGATIVE_INFINITY })
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      this.#log.warn({ uid, reason: error.code, detail: error.detail }, 'changes of rules are not followed')
    }
  }

  forget(uid: string): void {
    const watched = this.#watched.get(uid)
    if (watched === undefined) return
    this.#watched.delete(uid)
    watched.timer?.cancel()
    watched.events.close()
  }

  close(): void {
    for (const uid of [...this.#watched.keys()]) this.forget(uid)
  }

  #changed(uid: string): void {
    const watched = this.#watched.get(uid)
    if (watched === undefined || watched.timer !== null) return
    const nextMs = watched.lookedMs + MIN_INTERVAL_MS - this.#clock.passedMs
    watched.timer = this.#clock.startTimer(Math.max(SETTLE_MS, nextMs), () => {
      watched.timer = null
      watched.lookedMs = this.#clock.passedMs
      this.#onChanged(uid)
    })
  }
}
