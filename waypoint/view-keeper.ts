// SPDX-License-Identifier: Apache-2.0
// What workers have asked for and are told again when it changes. The model is main's; a worker holds what it uses.
import { refuse } from '../mesh/errors/refusal.ts'
import type { Clock, ClockTimer } from '../mesh/runtime/clock.ts'
import { callerLabels } from './model/caller-labels.ts'
import { describeCluster, describeTarget, type WaypointModel } from './model/describe.ts'
import type { ClusterFacts, TargetView } from './model/views.ts'
import { ClusterGauges } from './upstream/cluster-gauges.ts'
import type { DownMessage } from './worker-messages.ts'

/** Targets that workers hold; further ones are refused. */
const MAX_TARGETS = 16_384

/** News of the controller come to everybody within this, or somebody has none. */
const UNSERVED_WAIT_MS = 1_000

/** How long what is not before this waypoint any more is served as it was last: some nodes hear later that it is not. */
const TARGET_GRACE_MS = 5_000

interface Kept {
  /** As it was told. */
  text: string
  readonly workers: Set<number>
}

interface KeptTarget extends Kept {
  /** As it was told. */
  view: TargetView
  /** Runs once it is not ours to serve any more. */
  grace: ClockTimer | null
}

export class ViewKeeper {
  readonly #post: (worker: number, message: DownMessage) => void
  readonly #targets = new Map<string, KeptTarget>()
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
      if (isUnserved(view))
        kept.grace ??= this.#clock.startTimer(TARGET_GRACE_MS, () => this.#leave(authority))
      else this.#tellTarget(kept, view)
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
    const kept = this.#targets.get(authority)
    const view = kept?.view ?? describeTarget(this.#model, authority)
    if (isUnserved(view) && !isLate) {
      this.#askAgain(worker, authority)
      return
    }
    if (view.kind !== 'unknown' && kept === undefined && this.#targets.size >= MAX_TARGETS) {
      const refusal = refuse('LIMIT_POD', 'targets of one waypoint')
      this.#post(worker, { type: 'target', view: { kind: 'unknown', authority, refusal } })
      return
    }
    this.#post(worker, { type: 'target', view })
    if (kept !== undefined) kept.workers.add(worker)
    else if (view.kind !== 'unknown')
      this.#targets.set(authority, { view, text: textOf(view), workers: new Set([worker]), grace: null })
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

  /** Its grace is over. */
  #leave(authority: string): void {
    const kept = this.#targets.get(authority)
    if (kept !== undefined && this.#model !== null)
      this.#tellTarget(kept, describeTarget(this.#model, authority))
  }

  #tellTarget(kept: KeptTarget, view: TargetView): void {
    kept.grace?.cancel()
    kept.grace = null
    kept.view = view
    this.#tell(kept, textOf(view), { type: 'target', view })
    if (view.kind === 'unknown') this.#targets.delete(view.authority)
  }

  #tell(kept: Kept, text: string, message: DownMessage): void {
    if (kept.text === text) return
    kept.text = text
    for (const worker of kept.workers) this.#post(worker, message)
  }
}

function isUnserved(view: TargetView): boolean {
  return view.kind === 'unknown' && view.refusal.code === 'TARGET_UNSERVED'
}

/** Two with the same text are the same. */
function textOf(view: TargetView | ClusterFacts): string {
  return JSON.stringify(view, (_key, value) => (typeof value === 'bigint' ? `${value}` : value))
}
