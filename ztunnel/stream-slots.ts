// SPDX-License-Identifier: Apache-2.0
// Which slot of the shared counts an instance of a waypoint has. Main gives one to each that workers are told of; it is taken
// away, when there is no other left, from one that the mesh does not have any more and that nobody has a stream to.
import type { WaypointView } from '../mesh/model/destination.ts'
import { countStreams, createStreamCountMemory, MAX_COUNTED_INSTANCES } from './carry/stream-counts.ts'

export interface StreamSlotsOptions {
  readonly workers: number
  /** Tells every worker. */
  readonly tell: (slots: ReadonlyMap<string, number>) => void
  /** The mesh has that workload. */
  readonly isKnown: (uid: string) => boolean
}

export class StreamSlots {
  readonly memory: SharedArrayBuffer
  readonly #options: StreamSlotsOptions
  readonly #words: Int32Array
  readonly #slots = new Map<string, number>()
  #next = 0
  #free: number[] = []

  constructor(options: StreamSlotsOptions) {
    this.#options = options
    this.memory = createStreamCountMemory(options.workers)
    this.#words = new Int32Array(this.memory)
  }

  /** For a worker that knows nothing. */
  get all(): ReadonlyMap<string, number> {
    return this.#slots
  }

  /** Before workers are told of these waypoints. */
  prepare(waypoints: readonly WaypointView[]): void {
    const added = new Map<string, number>()
    for (const { uid } of waypoints.flatMap(({ candidates }) => candidates)) {
      if (this.#slots.has(uid)) continue
      const slot = this.#take()
      if (slot === null) break
      this.#slots.set(uid, slot)
      added.set(uid, slot)
    }
    if (added.size > 0) this.#options.tell(added)
  }

  #take(): number | null {
    if (this.#next < MAX_COUNTED_INSTANCES) return this.#next++
    if (this.#free.length === 0) this.#sweep()
    return this.#free.pop() ?? null
  }

  #sweep(): void {
    const { workers, isKnown } = this.#options
    for (const [uid, slot] of this.#slots) {
      if (isKnown(uid) || countStreams(this.#words, slot, workers) !== 0) continue
      this.#slots.delete(uid)
      this.#free.push(slot)
    }
  }
}
