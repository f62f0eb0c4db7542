// SPDX-License-Identifier: Apache-2.0
// Label selectors, and an index of them: a workload asks by its own labels, so that the cost does not grow with the
// number of services in its namespace.
import type { Fields } from './fields.ts'

export type Labels = Readonly<Record<string, string>>

/** Fields of a `selector` of Istio's kinds. */
export const SELECTOR_FIELDS = ['matchLabels']

/** Labels that must all be there. Never empty. */
export type Selector = ReadonlyMap<string, string>

/** The labels as they are told; null: everything. */
export function labelsOf(selector: Selector | null): Labels | null {
  return selector === null ? null : Object.fromEntries(selector)
}

/** True when a workload has every label of the selector. */
export function selects(selector: Selector, labels: Labels): boolean {
  for (const [key, value] of selector) if (labels[key] !== value) return false
  return true
}

/** The selector of a Service: a plain map of labels. Null when there is none. */
export function readPlainSelector(spec: Fields, key: string): Selector | null {
  const selector = spec.textMap(key)
  return selector.size === 0 ? null : selector
}

/**
 * A `selector.matchLabels` of Istio's kinds. Null: everything. `unreadable`: noted, and whoever applies it must stay on
 * the safe side.
 */
export function readMatchLabels(spec: Fields, key: string): Selector | null | 'unreadable' {
  const before = spec.notes.errors
  const inner = spec.fields(key)
  inner.refuseUnknown(SELECTOR_FIELDS)
  const selector = inner.textMap('matchLabels')
  if (spec.notes.errors > before) return 'unreadable'
  return selector.size === 0 ? null : selector
}

/** Things with selectors, found by the labels of a workload. */
export class SelectorIndex<T> {
  /** All of them, in the order in which they were added. */
  readonly items: T[] = []
  readonly #byLabel = new Map<string, { selector: Selector; item: T }[]>()

  /** Adds one under one of its labels; what is found there is compared in full. */
  add(selector: Selector, item: T): void {
    const [first] = selector
    if (first === undefined) return
    this.items.push(item)
    const key = `${first[0]}=${first[1]}`
    const found = this.#byLabel.get(key)
    if (found === undefined) this.#byLabel.set(key, [{ selector, item }])
    else found.push({ selector, item })
  }

  /** Everything that selects these labels. */
  find(labels: Labels): T[] {
    const found: T[] = []
    if (this.#byLabel.size === 0) return found
    for (const key in labels) {
      for (const { selector, item } of this.#byLabel.get(`${key}=${labels[key]}`) ?? []) {
        if (selects(selector, labels)) found.push(item)
      }
    }
    return found
  }
}
