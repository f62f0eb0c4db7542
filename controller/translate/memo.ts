// SPDX-License-Identifier: Apache-2.0
// Remembers results as long as their inputs are the same objects. Objects of the configuration never change, so that
// comparing identities is enough; a result that was made anew and is equal to the old one stays the old object.

interface Entry<V> {
  inputs: readonly unknown[]
  value: V
  round: number
}

/** Results by key. What is not asked for between two sweeps is forgotten. */
export class Memo<V> {
  readonly #entries = new Map<string, Entry<V>>()
  readonly #keepEqual: (old: V, fresh: V) => V
  #round = 0

  /** `keepEqual` returns what counts from now on: `old`, `fresh`, or a fresh one with equal parts of the old. */
  constructor(keepEqual: (old: V, fresh: V) => V = (_, fresh) => fresh) {
    this.#keepEqual = keepEqual
  }

  /** The remembered result when every input is the same as last time, else a new one. */
  get(key: string, inputs: readonly unknown[], make: () => V): V {
    const entry = this.#entries.get(key)
    if (entry === undefined) {
      const value = make()
      this.#entries.set(key, { inputs, value, round: this.#round })
      return value
    }
    entry.round = this.#round
    if (!isSame(entry.inputs, inputs)) {
      entry.value = this.#keepEqual(entry.value, make())
      entry.inputs = inputs
    }
    return entry.value
  }

  /** Keeps a result over the next sweep without asking for it. */
  touch(key: string): void {
    const entry = this.#entries.get(key)
    if (entry !== undefined) entry.round = this.#round
  }

  /** Forgets what was not asked for since the last sweep. */
  sweep(): void {
    for (const [key, { round }] of this.#entries) if (round !== this.#round) this.#entries.delete(key)
    this.#round++
  }

  get size(): number {
    return this.#entries.size
  }
}

function isSame(left: readonly unknown[], right: readonly unknown[]): boolean {
  if (left.length !== right.length) return false
  for (let index = 0; index < left.length; index++) if (left[index] !== right[index]) return false
  return true
}
