// SPDX-License-Identifier: Apache-2.0
// Reads typed values out of specs that nobody checked. A wrong value is noted with its path and read as unset; nothing
// throws. Null is unset, as it is for Kubernetes.
import { nearest } from '../../mesh/model/finding.ts'
import { type Notes, quote } from './notes.ts'

type RawMap = Readonly<Record<string, unknown>>

const NOTHING: RawMap = {}
const PLAIN_KEY = /^[\w./:-]{1,80}$/ // what a path shows as it is

/** A map of a spec, with where it stands. */
export class Fields {
  readonly path: string
  readonly notes: Notes
  readonly #map: RawMap

  constructor(map: RawMap, path: string, notes: Notes) {
    this.#map = map
    this.path = path
    this.notes = notes
  }

  /** The value as it stands; undefined when unset. */
  raw(key: string): unknown {
    // Own fields only: a spec named `constructor` is no spec.
    return Object.hasOwn(this.#map, key) ? (this.#map[key] ?? undefined) : undefined
  }

  pathOf(key: string): string {
    const name = PLAIN_KEY.test(key) ? key : quote(key)
    return this.path === '' ? name : `${this.path}.${name}`
  }

  /** Names of the fields that are set. */
  keys(): string[] {
    return Object.keys(this.#map).filter((key) => this.raw(key) !== undefined)
  }

  text(key: string, fallback = ''): string {
    const value = this.raw(key)
    if (typeof value === 'string') return value
    if (value !== undefined) this.#wrong(key, 'text', value)
    return fallback
  }

  /** A whole number; anything else is noted and undefined. */
  integer(key: string, min: number, max: number): number | undefined {
    const value = this.raw(key)
    if (value === undefined) return undefined
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
    this.#wrong(key, `a whole number from ${min} to ${max}`, value)
    return undefined
  }

  flag(key: string): boolean {
    const value = this.raw(key)
    if (typeof value === 'boolean') return value
    if (value !== undefined) this.#wrong(key, 'true or false', value)
    return false
  }

  /** A map inside this one; empty when unset or wrong. */
  fields(key: string): Fields {
    const value = this.raw(key)
    if (value !== undefined && !isMap(value)) this.#wrong(key, 'a map', value)
    return new Fields(isMap(value) ? value : NOTHING, this.pathOf(key), this.notes)
  }

  /** The maps of a list; wrong items are noted and left out. */
  items(key: string): Fields[] {
    return this.list(key).flatMap(({ value, path }) => {
      if (isMap(value)) return [new Fields(value, path, this.notes)]
      this.notes.add('WRONG_TYPE', path, `expected a map, found ${describe(value)}`, 'write a map here')
      return []
    })
  }

  /** The texts of a list; wrong items are noted and left out. */
  texts(key: string): { readonly text: string; readonly path: string }[] {
    return this.list(key).flatMap(({ value, path }) => {
      if (typeof value === 'string') return [{ text: value, path }]
      this.notes.add('WRONG_TYPE', path, `expected text, found ${describe(value)}`, 'write it in quotes')
      return []
    })
  }

  /** The values of a list as they stand. */
  list(key: string): { readonly value: unknown; readonly path: string }[] {
    const value = this.raw(key)
    if (Array.isArray(value)) {
      const at = this.pathOf(key)
      return value.map((item: unknown, index) => ({ value: item, path: `${at}[${index}]` }))
    }
    if (value !== undefined) this.#wrong(key, 'a list', value)
    return []
  }

  /** A map of texts; wrong values are noted and left out. */
  textMap(key: string): ReadonlyMap<string, string> {
    const inner = this.fields(key)
    const texts = inner.keys().filter((each) => {
      if (typeof inner.raw(each) === 'string') return true
      inner.text(each)
      return false
    })
    return new Map(texts.map((each) => [each, inner.text(each)]))
  }

  /**
   * Counts every field that is not among those known as an error. It is told by the source, which knows line and column:
   * `known` is what the schema of the kind has there.
   */
  refuseUnknown(known: readonly string[]): void {
    for (const key of this.keys()) if (!known.includes(key)) this.notes.errors++
  }

  /** A text that must be one of some; anything else is noted and the fallback. */
  oneOf<T extends string, F>(key: string, values: readonly T[], fallback: F): T | F {
    const text = this.text(key)
    if (text === '') return fallback
    const found = values.find((value) => value === text)
    if (found === undefined) this.invalid(key, text, values)
    return found ?? fallback
  }

  /** Notes that a text is none of those it may be. */
  invalid(key: string, text: string, values: readonly string[]): void {
    const near = nearest(text, values)
    const fix = near === '' ? `use one of ${values.join(', ')}` : `did you mean ${quote(near)}?`
    this.notes.add('INVALID_VALUE', this.pathOf(key), `${quote(text)} is no value of this field`, fix)
  }

  #wrong(key: string, expected: string, value: unknown): void {
    const message = `expected ${expected}, found ${describe(value)}`
    this.notes.add('WRONG_TYPE', this.pathOf(key), message, `write ${expected}`)
  }
}

export function isMap(value: unknown): value is RawMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** For messages: what a value is. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'string') return `text ${quote(value)}`
  return typeof value === 'object' ? 'a map' : `the ${typeof value} ${String(value)}`
}
