// SPDX-License-Identifier: Apache-2.0
// What a cluster has in use now: connections, waiting requests, requests, retries. In shared memory, so that a limit is one
// of the process, not of each worker. A worker that is lost leaves its part behind: who makes the memory makes it anew then.

const GAUGES = ['connections', 'pending', 'requests', 'retries'] as const
export type Gauge = (typeof GAUGES)[number]

const INDEX = Object.fromEntries(GAUGES.map((name, index) => [name, index])) as Record<Gauge, number> // as: fromEntries widens the keys

export class ClusterGauges {
  /** Size of the memory of one cluster. */
  static readonly BYTES = GAUGES.length * Int32Array.BYTES_PER_ELEMENT
  #all: Int32Array
  /** What this object has added, so that it can take all of it away. */
  readonly #own = new Int32Array(GAUGES.length)

  constructor(shared: SharedArrayBuffer | null) {
    this.#all = gaugesIn(shared)
  }

  /** In all who share the memory. */
  get(gauge: Gauge): number {
    return Atomics.load(this.#all, INDEX[gauge])
  }

  add(gauge: Gauge, count: number): void {
    const index = INDEX[gauge]
    this.#own[index] = (this.#own[index] ?? 0) + count
    Atomics.add(this.#all, index, count)
  }

  /** Counts in other memory from now on. */
  move(shared: SharedArrayBuffer | null): void {
    const next = gaugesIn(shared)
    this.#own.forEach((count, index) => {
      Atomics.sub(this.#all, index, count)
      Atomics.add(next, index, count)
    })
    this.#all = next
  }
}

function gaugesIn(shared: SharedArrayBuffer | null): Int32Array {
  return shared === null ? new Int32Array(GAUGES.length) : new Int32Array(shared, 0, GAUGES.length)
}
