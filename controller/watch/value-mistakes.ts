// SPDX-License-Identifier: Apache-2.0
// Mistakes in one value, before anybody knows in which line of which file it stands. Bounded: an object of ten thousand
// mistakes gets a page, not a book.
import type { MistakeSeverity } from './source-mistake.ts'

export { isMap, own, type RawMap } from '../../mesh/kubernetes/raw-map.ts'

/** Keys and indexes from the top of a value. */
export type ValuePath = readonly (string | number)[]

export interface ValueMistake {
  readonly severity: MistakeSeverity
  readonly path: ValuePath
  readonly message: string
  /** What was probably meant; '' when nothing is near. */
  readonly suggestion: string
}

/** Who mends twenty mistakes asks again. */
export const MAX_MISTAKES_PER_OBJECT = 20
const MAX_QUOTED = 60
const PLAIN_KEY = /^[\w./:-]{1,80}$/ // what a path shows as it is
const MAX_PATH_PARTS = 24 // nobody reads a longer one

/** Collects mistakes in the order of the fields. */
export class ValueMistakes {
  readonly all: ValueMistake[] = []
  /** True when one was an error, a suppressed one too. */
  hasErrors = false

  add(severity: MistakeSeverity, path: ValuePath, message: string, suggestion = ''): void {
    this.hasErrors ||= severity === 'error'
    if (this.all.length < MAX_MISTAKES_PER_OBJECT) this.all.push({ severity, path, message, suggestion })
    else if (this.all.length === MAX_MISTAKES_PER_OBJECT) {
      this.all.push({ severity, path: [], message: 'there are more mistakes than these', suggestion: '' })
    }
  }

  /** Notes a value of the wrong type; `expected` as in "expected a map". */
  wrong(path: ValuePath, expected: string, value: unknown): void {
    this.add('error', path, `expected ${expected}, found ${describe(value)}`)
  }
}

/** `spec.ports[0].number`; odd keys are quoted and cut. */
export function formatPath(path: ValuePath): string {
  return path
    .slice(0, MAX_PATH_PARTS)
    .map((part, index) => {
      if (typeof part === 'number') return `[${part}]`
      return `${index === 0 ? '' : '.'}${PLAIN_KEY.test(part) ? part : quote(part)}`
    })
    .join('')
}

/** Somebody's text for a message: short and escaped. */
export function quote(text: string): string {
  return JSON.stringify(text.length > MAX_QUOTED ? `${text.slice(0, MAX_QUOTED)}…` : text)
}

/** For messages: what a value is. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'string') return `text ${quote(value)}`
  if (typeof value === 'number' || typeof value === 'boolean') return `the ${typeof value} ${value}`
  return typeof value === 'object' ? 'a map' : `a ${typeof value}`
}
