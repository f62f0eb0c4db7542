// SPDX-License-Identifier: Apache-2.0
// Looks into JSON of somebody else. Pure, never throws.

export type RawMap = Readonly<Record<string, unknown>>

export function isMap(value: unknown): value is RawMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A field of its own, never an inherited one: a spec named `constructor` is no spec. Null is unset. */
export function own(map: RawMap, key: string): unknown {
  return Object.hasOwn(map, key) ? (map[key] ?? undefined) : undefined
}

/** A field that is a map; empty when it is not. */
export function mapOf(map: RawMap, key: string): RawMap {
  const value = own(map, key)
  return isMap(value) ? value : {}
}

/** A field that is a text; '' when it is not. */
export function textOf(map: RawMap, key: string): string {
  const value = own(map, key)
  return typeof value === 'string' ? value : ''
}
