// SPDX-License-Identifier: Apache-2.0
// What gives way when a node runs out of descriptors or of memory for received bytes, and in which order: idle tunnels,
// then connections of which one half has ended and the other moves nothing, then new connections of the pod that has
// most. Established connections that are in use never.
import { readDescriptorLimit } from '../../mesh/runtime/descriptor-limit.ts'

/** Percent of a node's descriptors, or of a worker's received bytes, from which on something gives way. */
export const PRESSURE_PERCENT = 90
/** Pressure is taken to last for this long after it was last seen. */
export const PRESSURE_HOLD_MS = 1000
/** While there is pressure it is looked for something to give up this often. */
const LOOK_MS = 250
/** Ended in one look: closing them is work too. */
const MAX_SHED = 64
/** A half-closed connection that moved nothing for this long gives way. */
export const SHED_HALF_CLOSED_MS = 60_000

/** Something that can give way. */
export interface Sheddable {
  readonly kind: 'idle-tunnel' | 'half-closed'
  /** How long it has been of no use. */
  readonly stalledMs: number
  end(): void
}

/** What a pod holds of what there is too little of. */
export interface Holding<Pod> {
  readonly pod: Pod
  readonly held: number
}

/** What gives way. */
export interface Shedding<Pod> {
  readonly end: readonly Sheddable[]
  /** Refuse its new connections; null: nobody's. */
  readonly refuse: Pod | null
}

/** Decides what gives way now, of what could. Pure. */
export function decideShedding<Pod>(
  candidates: readonly Sheddable[],
  holdings: readonly Holding<Pod>[],
): Shedding<Pod> {
  const longestFirst = (kind: Sheddable['kind'], leastMs: number): readonly Sheddable[] =>
    candidates
      .filter((each) => each.kind === kind && each.stalledMs >= leastMs)
      .toSorted((one, other) => other.stalledMs - one.stalledMs)
      .slice(0, MAX_SHED)
  const idle = longestFirst('idle-tunnel', 0)
  if (idle.length > 0) return { end: idle, refuse: null }
  const stale = longestFirst('half-closed', SHED_HALF_CLOSED_MS)
  if (stale.length > 0) return { end: stale, refuse: null }
  const most = holdings.reduce<Holding<Pod> | null>(
    (biggest, each) => (each.held > (biggest?.held ?? 0) ? each : biggest),
    null,
  )
  return { end: [], refuse: most?.pod ?? null }
}

/** What NodePressure looks at. */
export interface PressureSource<Pod> {
  readonly nowMs: () => number
  /** Share of the memory for received bytes that is in use, 0…1. */
  readonly bufferedShare: () => number
  readonly candidates: () => readonly Sheddable[]
  /** What each pod holds: of descriptors, or of received bytes. */
  readonly holdings: (what: 'descriptors' | 'bytes') => readonly Holding<Pod>[]
  readonly onShed: (kind: Sheddable['kind'], count: number) => void
  /** For tests. */
  readonly descriptorLimit?: () => number | null
}

/** One per worker. */
export class NodePressure<Pod> {
  readonly #source: PressureSource<Pod>
  readonly #readLimit: () => number | null
  #highestFd = Number.POSITIVE_INFINITY
  #limitReadMs = Number.NEGATIVE_INFINITY
  #highMs = Number.NEGATIVE_INFINITY
  #lookMs = Number.NEGATIVE_INFINITY
  #refused: Pod | null = null

  constructor(source: PressureSource<Pod>) {
    this.#source = source
    this.#readLimit = source.descriptorLimit ?? readDescriptorLimit
    this.#lookAtLimit()
  }

  /**
   * A connection was accepted. The kernel gives the lowest number that is free: one so high says that all below it are
   * taken, and nothing has to be counted.
   */
  onAccepted(fd: number): void {
    const nowMs = this.#source.nowMs()
    if (fd >= this.#highestFd && nowMs - this.#limitReadMs >= PRESSURE_HOLD_MS) {
      this.#limitReadMs = nowMs
      this.#lookAtLimit()
    }
    const areBytesHigh = this.#source.bufferedShare() * 100 >= PRESSURE_PERCENT
    if (fd >= this.#highestFd || areBytesHigh) this.#highMs = nowMs
    if (nowMs - this.#highMs >= PRESSURE_HOLD_MS) this.#refused = null
    else if (nowMs - this.#lookMs >= LOOK_MS) this.#look(nowMs, areBytesHigh)
  }

  /** Are new connections of `pod` refused now? */
  refuses(pod: Pod): boolean {
    return this.#refused === pod
  }

  /** What was known stays where nothing can be read: then none is left indeed. */
  #lookAtLimit(): void {
    const limit = this.#readLimit()
    if (limit !== null) this.#highestFd = (limit * PRESSURE_PERCENT) / 100
  }

  #look(nowMs: number, areBytesHigh: boolean): void {
    this.#lookMs = nowMs
    const holdings = this.#source.holdings(areBytesHigh ? 'bytes' : 'descriptors')
    const { end, refuse } = decideShedding(this.#source.candidates(), holdings)
    this.#refused = refuse
    for (const each of end) each.end()
    const [first] = end
    if (first !== undefined) this.#source.onShed(first.kind, end.length)
  }
}
