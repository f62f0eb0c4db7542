// SPDX-License-Identifier: Apache-2.0
// What workers have asked for and are told again when it changes. The model is main's; a worker holds what it uses.
import { refuse } from '../mesh/errors/refusal.ts'
import type { Clock } from '../mesh/runtime/clock.ts'
import { callerLabels } from './model/caller-labels.ts'
import { describeCluster, describeTarget, type WaypointModel } from './model/describe.ts'
import type { ClusterFacts, TargetView } from './model/views.ts'
import { ClusterGauges } from './upstream/cluster-gauges.ts'
import type { DownMessage } from './worker-messages.ts'

/** Targets that workers hold; further ones are refused. */
const MAX_TARGETS = 16_384

/** News of the controller come to everybody within this, or somebody has none. */
const UNSERVED_WAIT_MS = 1_000

interface Kept {
  /** As it was told. */
  text: string
  readonly workers: Set<number>
}

export class ViewKeeper {
  readonly #post: (worker: number, message: DownMessage) => void
  readonly #targets = new Map<string, Kept>()
  readonly #clusters = new Map<string, Kept & { readonly gauges: SharedArrayBuffer }>()
  /** Asked for what is not served yet. */
  readonly #early = new Set<{ readonly worker: number; readonly authority: string }>()
  readonly #clock: Clock
  #model: WaypointModel | null = null

  constructor(clock: Clock, post: (worker: number, message: DownMessage) => void) {
    this.#clock = clock
    this.#post = post
  }

  /** A new version of the model: who holds what has changed is told. */
  update(model: WaypointModel): void {
    this.#model = model
    for (const early of this.#early) {
      if (describeTarget(model, early.authority).kind === 'unknown') continue
      this.#early.delete(early)
      this.onResolveTarget(early.worker, early.authority)
    }
    for (const [authority, kept] of this.#targets) {
      const view = describeTarget(model, authority)
      this.#tell(kept, textOf(view), { type: 'target', view })
      if (view.kind === 'unknown') this.#targets.delete(authority)
    }
    for (const [name, kept] of this.#clusters) {
      const facts = describeCluster(model, name, kept.gauges)
      this.#tell(kept, textOf(facts), { type: 'cluster', facts })
    }
  }

  /**
   * What is not served is not kept: whoever asks again is told again. Who sends a caller here may have heard of this waypoint
   * a moment before the waypoint has: that is waited for.
   */
  onResolveTarget(worker: number, authority: string, isLate = false): void {
    if (this.#model === null) return // its deadline names it
    const view = describeTarget(this.#model, authority)
    if (view.kind === 'unknown' && view.refusal.code === 'TARGET_UNSERVED' && !isLate) {
      this.#askAgain(worker, authority)
      return
    }
    const kept = this.#targets.get(authority) ?? { text: textOf(view), workers: new Set() }
    const hasRoom = this.#targets.has(authority) || this.#targets.size < MAX_TARGETS
    if (view.kind === 'unknown' || hasRoom) {
      this.#post(worker, { type: 'target', view })
      if (view.kind === 'unknown') return
      kept.workers.add(worker)
      this.#targets.set(authority, kept)
    } else {
      const refusal = refuse('LIMIT_POD', 'targets of one waypoint')
      this.#post(worker, { type: 'target', view: { kind: 'unknown', authority, refusal } })
    }
  }

  #askAgain(worker: number, authority: string): void {
    if (this.#early.size >= MAX_TARGETS) {
      this.onResolveTarget(worker, authority, true)
      return
    }
    const early = { worker, authority }
    this.#early.add(early)
    this.#clock.startTimer(UNSERVED_WAIT_MS, () => {
      if (this.#early.delete(early)) this.onResolveTarget(worker, authority, true)
    })
  }

  onResolveCluster(worker: number, name: string): void {
    const model = this.#model
    if (model === null) return // its deadline names it
    const gauges = this.#clusters.get(name)?.gauges ?? new SharedArrayBuffer(ClusterGauges.BYTES)
    const facts = describeCluster(model, name, gauges)
    const kept = this.#clusters.get(name) ?? { text: textOf(facts), workers: new Set(), gauges }
    kept.workers.add(worker)
    this.#clusters.set(name, kept) // no more than the routes name
    this.#post(worker, { type: 'cluster', facts })
  }

  onResolveCaller(worker: number, key: string, identity: string, ip: string): void {
    if (this.#model === null) return // its deadline names it
    const { state, network } = this.#model
    this.#post(worker, { type: 'caller', key, labels: callerLabels(state, network, identity, ip) })
  }

  /** A worker has died: its successor asks for what it needs. */
  forget(worker: number): void {
    for (const kept of [...this.#targets.values(), ...this.#clusters.values()]) kept.workers.delete(worker)
  }

  #tell(kept: Kept, text: string, message: DownMessage): void {
    if (kept.text === text) return
    kept.text = text
    for (const worker of kept.workers) this.#post(worker, message)
  }
}

/** Two with the same text are the same. */
function textOf(view: TargetView | ClusterFacts): string {
  return JSON.stringify(view, (_key, value) => (typeof value === 'bigint' ? `${value}` : value))
}
