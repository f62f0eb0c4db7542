// SPDX-License-Identifier: Apache-2.0
// What is to be said about one object. Bounded: an object of ten thousand mistakes gets a page, not a book.
import { type ConfigObject, type ObjectRef, refOf } from '../watch/config-object.ts'
import { FINDING_CODES, type FindingCode } from './finding-codes.ts'
import type { ConfigFinding } from './translation.ts'

export const MAX_FINDINGS_PER_OBJECT = 20 // who mends twenty mistakes asks again; the rest is counted

/** Characters of a path, a message or a fix: names of objects may be anything. */
export const MAX_FINDING_TEXT = 500

const MAX_QUOTED = 60

/** Collects findings of one object in the order of its fields. */
export class Notes {
  readonly findings: ConfigFinding[] = []
  /** Errors, those beyond the limit and those that the source tells too: equal before and after means clean. */
  errors = 0
  readonly #object: ConfigObject
  readonly #ref: ObjectRef

  constructor(object: ConfigObject) {
    this.#object = object
    this.#ref = refOf(object)
  }

  /** Adds a finding. `path` is '' for the whole object; message and fix are one line each. */
  add(code: FindingCode, path: string, message: string, fix: string): void {
    const { severity } = FINDING_CODES[code]
    if (severity === 'error') this.errors++
    if (this.findings.length < MAX_FINDINGS_PER_OBJECT) this.#push(code, path, message, fix)
    else if (this.findings.length === MAX_FINDINGS_PER_OBJECT) {
      this.#push('MORE_FINDINGS', '', 'there are more mistakes than these', 'mend these first')
    }
  }

  #push(code: FindingCode, path: string, message: string, fix: string): void {
    const { severity } = FINDING_CODES[code]
    const origin = this.#object.origin
    const texts = { path: clip(path), message: clip(message), fix: clip(fix) }
    this.findings.push({ code, severity, object: this.#ref, origin, ...texts })
  }
}

/** Somebody's text for a message: short and escaped. */
export function quote(text: string): string {
  return JSON.stringify(text.length > MAX_QUOTED ? `${text.slice(0, MAX_QUOTED)}…` : text)
}

function clip(text: string): string {
  return text.length > MAX_FINDING_TEXT ? `${text.slice(0, MAX_FINDING_TEXT)}…` : text
}
