// SPDX-License-Identifier: Apache-2.0
// Remembers what was read out of an object as long as the object is the same and every question that it asked meanwhile has
// the same answer: which those are is known only by reading it.
import type { ConfigObject } from '../../watch/config-object.ts'
import type { BackendAsk, FindBackend, FoundBackend } from './route-part.ts'

interface Entry<T> {
  readonly object: ConfigObject
  readonly asked: readonly (readonly [BackendAsk, FoundBackend])[]
  readonly part: T
  round: number
}

export class RecordedParts<T> {
  readonly #entries = new Map<string, Entry<T>>()
  #round = 0

  /** What `read` made of the object, with the answers that `find` gives. */
  get(object: ConfigObject, find: FindBackend, read: (find: FindBackend) => T): T {
    const key = `${object.metadata.namespace}/${object.metadata.name}`
    const known = this.#entries.get(key)
    if (known?.object === object && known.asked.every(([ask, answer]) => find(ask) === answer)) {
      known.round = this.#round
      return known.part
    }
    const asked: [BackendAsk, FoundBackend][] = []
    const part = read((ask) => {
      const answer = find(ask)
      asked.push([ask, answer])
      return answer
    })
    this.#entries.set(key, { object, asked, part, round: this.#round })
    return part
  }

  /** Forgets what was not asked for since the last sweep. */
  sweep(): void {
    for (const [key, { round }] of this.#entries) if (round !== this.#round) this.#entries.delete(key)
    this.#round++
  }
}
