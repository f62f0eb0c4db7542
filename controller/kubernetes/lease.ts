// SPDX-License-Identifier: Apache-2.0
// One leader among replicas of one cluster, by a Lease. The leader renews it and stops believing in itself before another
// may take it, whatever the apiserver does; every write names the resourceVersion it was decided on, so of two that take
// it one fails. Kubernetes' own election (client-go) waits the same way.

import type { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import { Backoff } from '../../mesh/runtime/backoff.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import { Pause } from '../../mesh/runtime/pause.ts'
import { Lead } from '../lead.ts'
import type { LeaderElection } from '../leader.ts'
import { isMap, type RawMap } from '../watch/value-mistakes.ts'
import { statusOf } from './api-failure.ts'
import { decideLease, type SeenLease, seeLease } from './lease-decision.ts'

const LEASE_TTL_MS = 3_000 // a leader that vanished is replaced within this and two looks: under five seconds
const SAFETY_MS = 750 // a leader gives up this long before others may take over: more than a write that is under way
const RENEWALS_PER_TTL = 5 // one or two lost renewals do not end a leadership
const NOT_FOUND = 404
const CONFLICT = 409

/** What an election needs. */
export interface LeaseOptions {
  readonly client: KubernetesClient
  readonly namespace: string
  /** Of the Lease. controller/rbac.yaml allows exactly this one. */
  readonly name: string
  /** Names this replica; no two have the same, not even after a restart. */
  readonly holder: string
  readonly clock: Clock
  /** Milliseconds that never step back. */
  readonly monotonicMs: () => number
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly ttlMs?: number
  /** Hears why the apiserver is not asked in vain any more, or why it is; null = it answers. */
  readonly onReachable?: (detail: string | null) => void
}

/** follower → leader → follower …; stop() ends it. */
export class LeaseElection implements LeaderElection {
  readonly #options: LeaseOptions
  readonly #ttlMs: number
  readonly #everyMs: number
  readonly #nap: Pause
  readonly #lead: Lead
  #isStopped = false
  #onChange: (fence: string | null) => void = () => undefined
  #seen: SeenLease | null = null
  #work: Promise<void> = Promise.resolve()

  constructor(options: LeaseOptions) {
    this.#options = options
    this.#ttlMs = options.ttlMs ?? LEASE_TTL_MS
    this.#everyMs = this.#ttlMs / RENEWALS_PER_TTL
    this.#nap = new Pause(options.clock)
    this.#lead = new Lead(options.clock, options.monotonicMs, (fence) => this.#onChange(fence))
  }

  /** Grows with every leadership of this Lease. */
  get fence(): string | null {
    return this.#lead.fence
  }

  start(onChange: (fence: string | null) => void): void {
    this.#onChange = onChange
    this.#work = this.#run()
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.#nap.wake()
    await this.#work
  }

  async #run(): Promise<void> {
    const { random, onReachable } = this.#options
    const backoff = new Backoff({ initialMs: this.#everyMs / 4, maxMs: this.#everyMs, random })
    while (!this.#isStopped) {
      let pauseMs = this.#everyMs * (0.9 + 0.1 * random())
      try {
        await this.#step()
        backoff.reset()
        onReachable?.(null)
      } catch (error) {
        // Until its time is over the leader leads on: a short break of the way to the apiserver ends nothing.
        pauseMs = backoff.next()
        if (statusOf(error) !== CONFLICT)
          onReachable?.(error instanceof Error ? error.message : String(error))
      }
      if (!this.#isStopped) await this.#nap.wait(pauseMs)
    }
    await this.#release()
  }

  /** Looks at the lease; renews it, or takes it when nobody has it. @throws ApiError, Error */
  async #step(): Promise<void> {
    const { holder, monotonicMs } = this.#options
    // Nothing that is answered later than this can help.
    const signal = AbortSignal.timeout(this.#ttlMs / 2)
    const lease = await this.#get(signal)
    if (lease === null) return await this.#write(null, { transitions: 1 }, signal)
    const seen = seeLease(lease, this.#seen, monotonicMs())
    this.#seen = seen
    const step = decideLease(seen, holder, monotonicMs(), this.#ttlMs)
    if (step === 'wait') return this.#lead.end()
    // Its own name, but no belief any more: a leadership that ended is not gone on with but begun anew.
    const isNew = step === 'take' || this.fence === null
    await this.#write(lease, { transitions: seen.transitions + (isNew ? 1 : 0) }, signal)
  }

  async #get(signal: AbortSignal): Promise<RawMap | null> {
    try {
      const value = await this.#options.client.getJson(
        `${this.#collection}/${this.#options.name}`,
        {},
        signal,
      )
      if (!isMap(value)) throw new Error('the answer is no Lease')
      return value
    } catch (error) {
      if (statusOf(error) === NOT_FOUND) return null
      throw error
    }
  }

  async #write(
    lease: RawMap | null,
    { transitions, isRelease = false }: { readonly transitions: number; readonly isRelease?: boolean },
    signal: AbortSignal,
  ): Promise<void> {
    const { client, namespace, name, holder, monotonicMs, clock } = this.#options
    const now = `${new Date(clock.nowMs).toISOString().slice(0, -1)}000Z` // SPEC Kubernetes MicroTime
    const before = isMap(lease?.spec) ? lease.spec : {}
    const spec = {
      ...before,
      holderIdentity: isRelease ? '' : holder,
      leaseDurationSeconds: Math.max(1, Math.ceil(this.#ttlMs / 1000)),
      renewTime: now,
      ...(before.leaseTransitions !== transitions && { acquireTime: now }),
      leaseTransitions: transitions,
    }
    // Counted from before the question: nobody can have seen this renewal earlier.
    const validUntilMs = monotonicMs() + this.#ttlMs - Math.min(SAFETY_MS, this.#ttlMs / 4)
    if (lease === null) {
      const made = {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: { namespace, name },
        spec,
      }
      await client.create(this.#collection, made, signal)
    } else await client.replace(`${this.#collection}/${name}`, { ...lease, spec }, signal)
    if (isRelease) return
    const fence = String(transitions)
    // An answer that comes after the end does not bring a leadership back: its duties have ended. The next step begins
    // another one.
    const isOver = before.leaseTransitions === transitions && this.fence !== fence
    if (!isOver && monotonicMs() < validUntilMs) this.#lead.hold(fence, validUntilMs)
  }

  /** Gives the lead up, if this is still the leader. */
  async #release(): Promise<void> {
    const wasLeader = this.fence !== null
    this.#lead.end()
    if (!wasLeader) return
    const signal = AbortSignal.timeout(this.#ttlMs / 2)
    try {
      const lease = await this.#get(signal)
      const seen = lease === null ? null : seeLease(lease, null, 0)
      if (lease === null || seen?.holder !== this.#options.holder) return
      await this.#write(lease, { transitions: seen.transitions, isRelease: true }, signal)
    } catch {
      // It ends by itself.
    }
  }

  get #collection(): string {
    return `/apis/coordination.k8s.io/v1/namespaces/${this.#options.namespace}/leases`
  }
}
