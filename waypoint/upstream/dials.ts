// SPDX-License-Identifier: Apache-2.0
// The connects of one pool that are under way, each with its deadline and its place among the connections of the cluster.

import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { Cancellable } from '../../mesh/hbone/connect-attempt.ts'
import type { ByteStream, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { Scheduler, Timer } from '../../mesh/reactor/scheduler.ts'
import { type Member, Members } from '../../mesh/runtime/members.ts'
import type { EndpointView } from './cluster-view.ts'

/** Connects to an endpoint. Calls back once, at any time, unless cancelled. */
export type Dial = (endpoint: EndpointView, callback: (result: ByteStream | Refusal) => void) => Cancellable

/** What is told about connects; the place of one that ended as a connection goes over to it. */
export interface DialsOwner {
  onConnected(transport: ByteStream): void
  onDialFailed(refusal: Refusal): void
}

interface Dialing extends Member {
  connect: Cancellable | null
  timer: Timer | null
  isDone: boolean
}

const UNWANTED: CloseReason = { code: 'DRAIN', detail: 'it is not needed any more' }

export class Dials {
  readonly #owner: DialsOwner
  readonly #scheduler: Scheduler
  readonly #all = new Members<Dialing>()

  constructor(owner: DialsOwner, scheduler: Scheduler) {
    this.#owner = owner
    this.#scheduler = scheduler
  }

  get size(): number {
    return this.#all.size
  }

  start(dial: Dial, endpoint: EndpointView, timeoutMs: number): void {
    const dialing: Dialing = { connect: null, timer: null, isDone: false, memberIndex: -1 }
    this.#all.add(dialing)
    dialing.timer = this.#scheduler.startTimer(timeoutMs, () => {
      dialing.connect?.cancel()
      this.#end(dialing, refuse('CONNECT_TIMEOUT', `no connection to ${endpoint.key} in ${timeoutMs} ms`))
    })
    dialing.connect = dial(endpoint, (result) => this.#end(dialing, result))
  }

  /** Gives all up, without a word. Returns how many there were. */
  stop(): number {
    const count = this.#all.size
    for (const dialing of this.#all) {
      dialing.isDone = true
      dialing.timer?.cancel()
      dialing.connect?.cancel()
      this.#all.delete(dialing)
    }
    return count
  }

  #end(dialing: Dialing, result: ByteStream | Refusal): void {
    if (dialing.isDone) {
      if (!isRefusal(result)) result.destroy(UNWANTED)
      return
    }
    dialing.isDone = true
    dialing.timer?.cancel()
    this.#all.delete(dialing)
    if (isRefusal(result)) this.#owner.onDialFailed(result)
    else this.#owner.onConnected(result)
  }
}
