// SPDX-License-Identifier: Apache-2.0
// The tunnels of a worker by key: pods that talk to the same pod with the same identities share connections. First
// users of a key wait for one dial; a failed dial is not repeated at once; idle tunnels are closed.
// SPEC HBONE §3.5: at most 100 streams per connection, idle release after 5 minutes.
import { isRefusal, type Refusal, refuse } from '../errors/refusal.ts'
import type { InboundBudget, SessionResources } from '../h2/session-resources.ts'
import type { ByteStream, CloseReason } from '../reactor/byte-stream.ts'
import type { Scheduler, Timer, TurnTask } from '../reactor/scheduler.ts'
import type { Cancellable, ConnectHandler, ConnectRequest } from './connect-attempt.ts'
import { HBONE_LIMITS } from './limits.ts'
import { type ConnectQueue, PooledConnect } from './pooled-connect.ts'
import { TunnelClient, type TunnelHandler } from './tunnel-client.ts'

/** Opens the mTLS connection of a key. Calls back once, at any time, unless cancelled. */
export type Dial = (key: string, callback: (result: ByteStream | Refusal) => void) => Cancellable

export interface TunnelPoolOptions {
  readonly resources: SessionResources
  readonly dial: Dial
  readonly maxStreamsPerConnection?: number
  readonly idleReleaseMs?: number
  readonly maxWaitingPerKey?: number
  /** For what the owner of the pool does not read. */
  readonly budget?: InboundBudget
}

const CLOSED = refuse('DRAIN', 'the pool is closed')
const TOO_MANY_TUNNELS = refuse('LIMIT_POD', 'tunnels to one destination')

/** Numbers for metrics and the admin page. */
export interface TunnelPoolStatistics {
  readonly tunnels: number
  readonly streams: number
  readonly dialing: number
  readonly waiting: number
  /** Since the start. */
  readonly dialCount: number
  readonly dialFailureCount: number
  readonly reuseCount: number
}

/** Everything about one key. */
interface Entry {
  readonly key: string
  tunnels: TunnelClient[]
  waiting: PooledConnect[]
  dialing: Cancellable | null
  /** What the latest tunnel's peer allowed: the next one is not filled beyond it before it has answered. */
  peerStreams: number
  failureCount: number
  /** No dial before; connections until then get `lastRefusal`. */
  nextDialMs: number
  lastRefusal: Refusal | null
}

/** One per worker (or per pod). */
export class TunnelPool implements ConnectQueue, TunnelHandler, TurnTask {
  isAtTurnEnd = false
  readonly #resources: SessionResources
  readonly #scheduler: Scheduler
  readonly #dial: Dial
  readonly #maxStreams: number
  readonly #idleReleaseMs: number
  readonly #maxWaiting: number
  readonly #budget: InboundBudget | undefined
  readonly #entries = new Map<string, Entry>()
  /** Tunnels in use by key's entry, and those that only finish their streams. */
  readonly #owners = new Map<TunnelClient, Entry>()
  /** Refusals owed: outcomes are never reported from inside connect. */
  #refused: Array<{ readonly connect: PooledConnect; readonly refusal: Refusal }> = []
  #sweepTimer: Timer | null = null
  #isDraining = false
  #isClosed = false
  #dialCount = 0
  #dialFailureCount = 0
  #reuseCount = 0

  constructor(options: TunnelPoolOptions) {
    this.#resources = options.resources
    this.#scheduler = options.resources.scheduler
    this.#dial = options.dial
    this.#maxStreams = options.maxStreamsPerConnection ?? HBONE_LIMITS.streamsPerConnection.value
    this.#idleReleaseMs = options.idleReleaseMs ?? HBONE_LIMITS.idleRelease.value
    this.#budget = options.budget
    this.#maxWaiting = options.maxWaitingPerKey ?? HBONE_LIMITS.waitingPerKey.value
  }

  get statistics(): TunnelPoolStatistics {
    let [streams, dialing, waiting] = [0, 0, 0]
    for (const tunnel of this.#owners.keys()) streams += tunnel.openStreamCount
    for (const entry of this.#entries.values()) {
      if (entry.dialing !== null) dialing++
      waiting += entry.waiting.length
    }
    return {
      tunnels: this.#owners.size,
      streams,
      dialing,
      waiting,
      dialCount: this.#dialCount,
      dialFailureCount: this.#dialFailureCount,
      reuseCount: this.#reuseCount,
    }
  }

  /** Asks for a stream to `request.authority` on a tunnel of `key`. The outcome comes later, exactly once. */
  connect(key: string, request: ConnectRequest, handler: ConnectHandler): Cancellable {
    const connect = new PooledConnect(key, this, request, handler)
    this.#place(connect)
    return connect
  }

  /** Tunnels of matching keys finish their streams and are used no more (a certificate or identity changed). */
  retire(matches: (key: string) => boolean): void {
    for (const entry of [...this.#entries.values()]) {
      if (!matches(entry.key)) continue
      const waiting = entry.waiting
      this.#dropEntry(entry)
      for (const tunnel of entry.tunnels) tunnel.drain()
      for (const connect of waiting) this.#place(connect)
    }
  }

  /**
   * Tunnels close when their streams have ended. Who waits, or comes yet, was accepted before: it gets its stream, on a tunnel
   * that is used for nobody later.
   */
  drain(): void {
    this.#isDraining = true
    for (const entry of [...this.#entries.values()]) {
      this.#drainTunnels(entry)
      this.#serve(entry)
    }
  }

  /** Tunnels without a stream: `since` when, and how to end them in order. */
  idleTunnels(): ReadonlyArray<{ readonly idleSinceMs: number; readonly end: () => void }> {
    return [...this.#entries.values()].flatMap((entry) =>
      entry.tunnels.flatMap((tunnel) => {
        if (tunnel.openStreamCount > 0 || !tunnel.wasReady) return []
        return [{ idleSinceMs: tunnel.idleSinceMs, end: () => this.#release(entry, tunnel) }]
      }),
    )
  }

  /** Ends everything now. */
  closeAll(reason: CloseReason): void {
    this.#isClosed = true
    for (const entry of [...this.#entries.values()]) {
      for (const connect of entry.waiting) this.refuseLater(connect, CLOSED)
      this.#dropEntry(entry)
    }
    for (const tunnel of [...this.#owners.keys()]) tunnel.destroy(reason)
  }

  // ---- TunnelHandler

  onReady(tunnel: TunnelClient): void {
    const entry = this.#owners.get(tunnel)
    if (entry === undefined) return
    // At least one: a peer that allows none refuses it, where nobody asking would mean dialling without end.
    entry.peerStreams = Math.max(1, tunnel.peerStreams)
    entry.failureCount = 0
    entry.lastRefusal = null
    this.#serve(entry)
    if (this.#isDraining) this.#drainTunnels(entry)
  }

  onDraining(tunnel: TunnelClient): void {
    const entry = this.#owners.get(tunnel)
    if (entry !== undefined) entry.tunnels = entry.tunnels.filter((other) => other !== tunnel)
  }

  onClosed(tunnel: TunnelClient, reason: CloseReason): void {
    const entry = this.#owners.get(tunnel)
    this.#owners.delete(tunnel)
    if (entry === undefined) return
    const isUnproven = !tunnel.wasReady
    entry.tunnels = entry.tunnels.filter((other) => other !== tunnel)
    if ((this.#isDraining || this.#isClosed) && this.#owners.size === 0) {
      this.#sweepTimer?.cancel()
      this.#sweepTimer = null
    }
    if (isUnproven && !this.#isClosed) {
      // An orderly end before HTTP/2 was spoken is a failure all the same.
      this.#noteFailure(entry, refuse(reason.code === 'OK' ? 'TUNNEL_RESET' : reason.code, reason.detail))
    }
    this.#serve(entry)
  }

  // ---- ConnectQueue

  requeue(connect: PooledConnect): void {
    this.#place(connect)
  }

  forget(connect: PooledConnect): void {
    const entry = this.#entries.get(connect.key)
    if (entry === undefined) return
    const at = entry.waiting.indexOf(connect)
    if (at >= 0) entry.waiting.splice(at, 1)
    // Nobody waits: the dial goes on, because the next user is likely and the handshake half done.
  }

  refuseLater(connect: PooledConnect, refusal: Refusal): void {
    this.#refused.push({ connect, refusal })
    this.#scheduler.atTurnEnd(this)
  }

  runAtTurnEnd(): void {
    const refused = this.#refused
    this.#refused = []
    for (const { connect, refusal } of refused) connect.finish(refusal)
  }

  // ---- inside

  #place(connect: PooledConnect): void {
    if (connect.isDone) return
    if (this.#isClosed) {
      this.refuseLater(connect, CLOSED)
      return
    }
    const entry = this.#entryOf(connect.key)
    if (this.#startOn(entry, connect)) return
    if (entry.dialing === null) {
      if (this.#scheduler.nowMs < entry.nextDialMs && entry.lastRefusal !== null) {
        this.refuseLater(connect, entry.lastRefusal)
        return
      }
      if (entry.tunnels.length >= HBONE_LIMITS.tunnelsPerKey.value) {
        this.refuseLater(connect, TOO_MANY_TUNNELS)
        return
      }
    }
    if (entry.waiting.length >= this.#maxWaiting) {
      this.refuseLater(connect, refuse('LIMIT_POD', 'connections that wait for one tunnel'))
      return
    }
    entry.waiting.push(connect)
    connect.startWaiting(this.#scheduler)
    this.#ensureDial(entry)
  }

  /** The first tunnel with room takes it: full tunnels stay full, so that spare ones become idle. */
  #startOn(entry: Entry, connect: PooledConnect): boolean {
    for (const tunnel of entry.tunnels) {
      if (!tunnel.hasRoom || !connect.start(tunnel)) continue
      this.#reuseCount++
      return true
    }
    return false
  }

  #serve(entry: Entry): void {
    let served = 0
    while (served < entry.waiting.length) {
      const connect = entry.waiting[served]
      if (connect === undefined || !this.#startOn(entry, connect)) break
      served++
    }
    if (served > 0) entry.waiting.splice(0, served)
    if (entry.dialing === null && entry.tunnels.length >= HBONE_LIMITS.tunnelsPerKey.value) {
      for (const connect of entry.waiting) this.refuseLater(connect, TOO_MANY_TUNNELS)
      entry.waiting = []
    }
    if (entry.waiting.length > 0) this.#ensureDial(entry)
    else if (entry.tunnels.length === 0 && entry.dialing === null && entry.lastRefusal === null) {
      // An entry that was retired has a successor under the same key.
      if (this.#entries.get(entry.key) === entry) this.#entries.delete(entry.key)
    }
  }

  /** Those that are proven: what becomes of the others is their dial's failure or success. */
  #drainTunnels(entry: Entry): void {
    const proven = entry.tunnels.filter(({ wasReady }) => wasReady)
    entry.tunnels = entry.tunnels.filter(({ wasReady }) => !wasReady)
    for (const tunnel of proven) tunnel.drain()
  }

  #ensureDial(entry: Entry): void {
    if (entry.dialing !== null) return
    this.#dialCount++
    let isDone = false
    const dialing = this.#dial(entry.key, (result) => {
      if (isDone) return
      isDone = true
      entry.dialing = null
      this.#onDialled(entry, result)
    })
    if (!isDone) entry.dialing = dialing
  }

  #onDialled(entry: Entry, result: ByteStream | Refusal): void {
    const isDropped = this.#entries.get(entry.key) !== entry
    if (isRefusal(result)) {
      if (!isDropped) this.#noteFailure(entry, result)
      return
    }
    if (isDropped) {
      result.destroy({ code: 'DRAIN', detail: 'nobody wants the tunnel any more' })
      return
    }
    const tunnel = new TunnelClient({
      transport: result,
      resources: this.#resources,
      handler: this,
      budget: this.#budget,
      maxStreams: this.#maxStreams,
      expectedStreams: entry.peerStreams,
    })
    this.#owners.set(tunnel, entry)
    entry.tunnels.push(tunnel)
    this.#sweepTimer ??= this.#scheduler.startTimer(HBONE_LIMITS.sweepInterval.value, () => this.#sweep())
    this.#serve(entry)
  }

  /** Whoever waits is refused; who comes within the pause is refused at once. */
  #noteFailure(entry: Entry, refusal: Refusal): void {
    this.#dialFailureCount++
    const pauseMs = HBONE_LIMITS.dialBackoffFirst.value * 2 ** Math.min(entry.failureCount, 10)
    entry.failureCount++
    entry.nextDialMs = this.#scheduler.nowMs + Math.min(pauseMs, HBONE_LIMITS.dialBackoffLast.value)
    entry.lastRefusal = refusal
    for (const connect of entry.waiting) this.refuseLater(connect, refusal)
    entry.waiting = []
    this.#sweepTimer ??= this.#scheduler.startTimer(HBONE_LIMITS.sweepInterval.value, () => this.#sweep())
  }

  #entryOf(key: string): Entry {
    const found = this.#entries.get(key)
    if (found !== undefined) return found
    const entry: Entry = {
      key,
      tunnels: [],
      waiting: [],
      dialing: null,
      peerStreams: Number.POSITIVE_INFINITY,
      failureCount: 0,
      nextDialMs: 0,
      lastRefusal: null,
    }
    this.#entries.set(key, entry)
    return entry
  }

  #dropEntry(entry: Entry): void {
    entry.dialing?.cancel()
    entry.dialing = null
    entry.waiting = []
    this.#entries.delete(entry.key)
  }

  #release(entry: Entry, tunnel: TunnelClient): void {
    entry.tunnels = entry.tunnels.filter((other) => other !== tunnel)
    tunnel.drain()
  }

  #sweep(): void {
    const nowMs = this.#scheduler.nowMs
    for (const entry of [...this.#entries.values()]) {
      for (const tunnel of [...entry.tunnels]) {
        if (tunnel.openStreamCount > 0 || nowMs - tunnel.idleSinceMs < this.#idleReleaseMs) continue
        this.#release(entry, tunnel)
      }
      const isForgotten = nowMs - entry.nextDialMs > HBONE_LIMITS.sweepInterval.value
      const isUnused = entry.tunnels.length === 0 && entry.dialing === null && entry.waiting.length === 0
      if (isUnused && isForgotten) this.#entries.delete(entry.key)
    }
    const isNeeded = this.#entries.size > 0 || this.#owners.size > 0
    this.#sweepTimer = isNeeded
      ? this.#scheduler.startTimer(HBONE_LIMITS.sweepInterval.value, () => this.#sweep())
      : null
  }
}
