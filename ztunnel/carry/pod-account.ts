// SPDX-License-Identifier: Apache-2.0
// What one pod has of the node, over all workers: connections open, rates, and what was refused. It lives in memory that
// the workers and main share; each worker writes its own column, so that one that died is corrected by its successor.
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { WorkloadLimits } from './workload-limits.ts'

/** What a pod can run into: the limits of its own, and the order of shedding. */
export const LIMIT_KINDS = ['connections', 'connection-rate', 'handshake-rate', 'node'] as const
export type LimitKind = (typeof LIMIT_KINDS)[number]

/** Two words of 64 bits: when the next connection, and the next handshake, would be due at the limit's rate. */
const RATE_BYTES = 16
const [CONNECTIONS_DUE, HANDSHAKES_DUE] = [0, 1] as const
/** Of a worker: what is open, and refusals of each kind. */
const COLUMNS = 1 + LIMIT_KINDS.length
const SECOND_NS = 1_000_000_000n

/** Memory for the account of one pod. */
export function createPodAccountMemory(workers: number): SharedArrayBuffer {
  return new SharedArrayBuffer(RATE_BYTES + workers * COLUMNS * 4)
}

/**
 * One more arrival at a bucket of a second's worth, whose state is when it will be full again: that time from now on, or
 * null when the bucket is empty. Pure; a time that goes back refuses nobody who would not have been refused.
 */
export function arrive(fullNs: bigint, nowNs: bigint, perSecond: number): bigint | null {
  const nextNs = (fullNs > nowNs ? fullNs : nowNs) + SECOND_NS / BigInt(perSecond)
  return nextNs - nowNs > SECOND_NS ? null : nextNs
}

/** The account of one pod, as one worker uses it. */
export class PodAccount {
  readonly #limits: WorkloadLimits
  readonly #due: BigInt64Array
  readonly #counts: Int32Array
  readonly #own: number
  readonly #nowNs: () => bigint

  constructor(
    memory: SharedArrayBuffer,
    worker: number,
    limits: WorkloadLimits,
    nowNs: () => bigint = process.hrtime.bigint,
  ) {
    this.#limits = limits
    this.#due = new BigInt64Array(memory, 0, 2)
    this.#counts = new Int32Array(memory, RATE_BYTES)
    this.#own = worker * COLUMNS
    this.#nowNs = nowNs
    Atomics.store(this.#counts, this.#own, 0) // what a predecessor had open is gone
  }

  /** Connections and tunnels of the pod, in all workers. */
  get openCount(): number {
    let sum = 0
    for (let at = 0; at < this.#counts.length; at += COLUMNS) sum += Atomics.load(this.#counts, at)
    return sum
  }

  opened(): void {
    Atomics.add(this.#counts, this.#own, 1)
  }

  closed(): void {
    Atomics.sub(this.#counts, this.#own, 1)
  }

  /** May a connection that was counted as opened go on? */
  admitConnection(): Refusal | null {
    const { connections, connectionsPerSecond } = this.#limits
    if (this.openCount > connections)
      return this.refuse('connections', `more than ${connections} connections of one pod`)
    if (this.#takeRate(CONNECTIONS_DUE, connectionsPerSecond)) return null
    return this.refuse('connection-rate', `more than ${connectionsPerSecond} new connections in a second`)
  }

  /** May a tunnel that was counted as opened begin its handshake? */
  admitHandshake(): Refusal | null {
    const { connections, handshakesPerSecond } = this.#limits
    if (this.openCount > connections)
      return this.refuse('connections', `more than ${connections} connections of one pod`)
    if (this.#takeRate(HANDSHAKES_DUE, handshakesPerSecond)) return null
    return this.refuse('handshake-rate', `more than ${handshakesPerSecond} handshakes in a second`)
  }

  /** Counts a refusal and makes it. */
  refuse(kind: LimitKind, detail: string): Refusal {
    Atomics.add(this.#counts, this.#own + 1 + LIMIT_KINDS.indexOf(kind), 1)
    return refuse(kind === 'node' ? 'LIMIT_NODE' : 'LIMIT_POD', detail)
  }

  #takeRate(which: number, perSecond: number): boolean {
    for (;;) {
      const fullNs = Atomics.load(this.#due, which)
      const nextNs = arrive(fullNs, this.#nowNs(), perSecond)
      if (nextNs === null) return false
      // Lost against another worker: its arrival counts first.
      if (Atomics.compareExchange(this.#due, which, fullNs, nextNs) === fullNs) return true
    }
  }
}

/** The accounts of all pods, on main. */
export class PodAccounts {
  readonly #workers: number
  readonly #accounts = new Map<string, { readonly number: number; readonly memory: SharedArrayBuffer }>()

  constructor(workers: number) {
    this.#workers = workers
  }

  /** The memory of a pod. The same uid with another number is another pod. */
  open(uid: string, number: number): SharedArrayBuffer {
    const known = this.#accounts.get(uid)
    if (known?.number === number) return known.memory
    const memory = createPodAccountMemory(this.#workers)
    this.#accounts.set(uid, { number, memory })
    return memory
  }

  close(uid: string): void {
    this.#accounts.delete(uid)
  }

  /** What was refused to a pod since it came, by limit. */
  refusals(uid: string): Readonly<Record<LimitKind, number>> {
    const memory = this.#accounts.get(uid)?.memory
    const counts = memory === undefined ? new Int32Array() : new Int32Array(memory, RATE_BYTES)
    const sums: Record<LimitKind, number> = {
      connections: 0,
      'connection-rate': 0,
      'handshake-rate': 0,
      node: 0,
    }
    for (let at = 1; at < counts.length; at += COLUMNS)
      for (const [index, kind] of LIMIT_KINDS.entries()) sums[kind] += Atomics.load(counts, at + index)
    return sums
  }
}
