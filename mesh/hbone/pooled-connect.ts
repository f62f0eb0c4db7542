// SPDX-License-Identifier: Apache-2.0
// One connection that wants a stream of a pool: waits for a tunnel, then for the answer to its CONNECT, and is tried once
// more when the peer proves that it never looked at it. Reports exactly one outcome, unless cancelled.
import { isRefusal, type Refusal, refuse } from '../errors/refusal.ts'
import type { H2Stream } from '../h2/stream.ts'
import type { Scheduler, Timer } from '../reactor/scheduler.ts'
import type { Cancellable, ConnectHandler, ConnectRequest } from './connect-attempt.ts'
import { HBONE_LIMITS } from './limits.ts'
import type { TunnelClient } from './tunnel-client.ts'

/** A connect leaves tunnels that drain so often: while its peer is replaced the next one may be of the same old process. */
const MAX_REQUEUES = 3

/** What a connection asks of its pool. */
export interface ConnectQueue {
  /** Takes it back after a tunnel did not process it. */
  requeue(connect: PooledConnect): void
  /** It does not wait any more. */
  forget(connect: PooledConnect): void
  /** Calls `finish` at the end of the turn. */
  refuseLater(connect: PooledConnect, refusal: Refusal): void
}

/** Made by TunnelPool. */
export class PooledConnect implements Cancellable, ConnectHandler {
  readonly key: string
  readonly #queue: ConnectQueue
  readonly #request: ConnectRequest
  /** Null once the outcome was reported or is not wanted. */
  #handler: ConnectHandler | null
  #attempt: Cancellable | null = null
  #timer: Timer | null = null
  #requeueCount = 0

  constructor(key: string, queue: ConnectQueue, request: ConnectRequest, handler: ConnectHandler) {
    this.key = key
    this.#queue = queue
    this.#request = request
    this.#handler = handler
  }

  get isDone(): boolean {
    return this.#handler === null
  }

  /** Starts the deadline of the wait for a tunnel. */
  startWaiting(scheduler: Scheduler): void {
    this.#timer ??= scheduler.startTimer(HBONE_LIMITS.dialWait.value, () => {
      this.#queue.forget(this)
      this.finish(refuse('CONNECT_TIMEOUT', 'no tunnel to the other node in time'))
    })
  }

  /** Sends the CONNECT on `tunnel`; false when the tunnel does not take it. */
  start(tunnel: TunnelClient): boolean {
    const attempt = tunnel.openConnect(this.#request, this)
    if (isRefusal(attempt)) {
      if (attempt.code === 'DRAIN' || attempt.code === 'LIMIT_CONNECTION') return false
      this.#queue.refuseLater(this, attempt)
      return true
    }
    this.#timer?.cancel()
    this.#timer = null
    this.#attempt = attempt
    return true
  }

  cancel(): void {
    this.#handler = null
    this.#timer?.cancel()
    if (this.#attempt === null) this.#queue.forget(this)
    else this.#attempt.cancel()
    this.#attempt = null
  }

  /** Reports a refusal. */
  finish(refusal: Refusal): void {
    const handler = this.#handler
    this.#handler = null
    this.#timer?.cancel()
    handler?.onRefused(refusal)
  }

  onConnected(stream: H2Stream, baggage: string): void {
    const handler = this.#handler
    this.#handler = null
    this.#attempt = null
    handler?.onConnected(stream, baggage)
  }

  onRefused(refusal: Refusal): void {
    this.#attempt = null
    // SPEC RFC9113 §8.7: REFUSED_STREAM, and GOAWAY with a lower id, promise that nothing was processed.
    const isDrained = refusal.code === 'DRAIN'
    const isUnprocessed = isDrained || refusal.detail === 'refused_stream'
    const most = isDrained ? MAX_REQUEUES : 1 // a peer that takes no stream would not take another one either
    if (isUnprocessed && this.#requeueCount < most && this.#handler !== null) {
      this.#requeueCount++
      this.#queue.requeue(this)
    } else this.finish(refusal)
  }
}
