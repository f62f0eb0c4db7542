// SPDX-License-Identifier: Apache-2.0
// What is said about a whole configuration, bounded: ten thousand broken objects get a list that can be read and kept.
import { refKey } from '../watch/config-object.ts'
import type { ConfigFinding } from './translation.ts'

/** Findings of one translation; more, and of every object only the first is told, the rest is counted. */
export const MAX_FINDINGS = 20_000

/** The findings, or the first of each object and a count of the others. */
export function boundFindings(all: readonly ConfigFinding[], max = MAX_FINDINGS): readonly ConfigFinding[] {
  if (all.length <= max) return all
  const kept = new Map<string, ConfigFinding>()
  let left: ConfigFinding | null = null
  for (const finding of all) {
    const key = refKey(finding.object)
    if (kept.has(key) || kept.size >= max) left ??= finding
    else kept.set(key, finding)
  }
  const told = [...kept.values()]
  return left === null ? told : [...told, countOf(left, all.length - told.length)]
}

/** Stands at the first object of which something is left out. */
function countOf({ object, origin }: ConfigFinding, count: number): ConfigFinding {
  const message = `there are ${count} more findings, the first of them about this object`
  const fix = 'mend those that are listed first'
  return { code: 'MORE_FINDINGS', severity: 'info', object, origin, path: '', message, fix }
}
