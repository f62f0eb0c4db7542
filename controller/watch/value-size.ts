// SPDX-License-Identifier: Apache-2.0
// Bounds what one object may cost before anything recursive looks at it.
import type { ValuePath } from './value-mistakes.ts'

const MAX_OBJECT_DEPTH = 64 // levels of maps and lists in an object: real ones have less than twenty
const MAX_OBJECT_VALUES = 500_000 // values in one object, repeated ones through aliases included
const MAX_OBJECT_BYTES = 3 * 1024 * 1024 // characters in one object: twice what an apiserver stores

/** Says why a value is too much to look at, or not plain data; undefined when it may be read. */
export function refuseSize(
  value: unknown,
): { readonly path: ValuePath; readonly message: string } | undefined {
  const queue: { readonly value: unknown; readonly depth: number }[] = [{ value, depth: 0 }]
  let valueCount = 0
  let textLength = 0
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    const { value: each, depth } = next
    if (++valueCount > MAX_OBJECT_VALUES) return whole(`more than ${MAX_OBJECT_VALUES} values`)
    if (depth > MAX_OBJECT_DEPTH) return whole(`more than ${MAX_OBJECT_DEPTH} levels of maps and lists`)
    if (typeof each === 'string') textLength += each.length
    else if (typeof each === 'object' && each !== null) {
      if (!Array.isArray(each) && !isPlain(each)) return whole('holds what is no plain data')
      for (const [key, item] of Object.entries(each)) {
        textLength += key.length
        queue.push({ value: item, depth: depth + 1 })
      }
      // What waits counts too: a list of millions is not to be queued first and refused then.
      if (valueCount + queue.length > MAX_OBJECT_VALUES) return whole(`more than ${MAX_OBJECT_VALUES} values`)
    } else if (typeof each === 'bigint' || typeof each === 'symbol' || typeof each === 'function') {
      return whole('holds what is no plain data')
    }
    if (textLength > MAX_OBJECT_BYTES) return whole(`more than ${MAX_OBJECT_BYTES} characters`)
  }
  return undefined
}

const whole = (message: string) => ({ path: [], message })

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
