// SPDX-License-Identifier: Apache-2.0
// A mistake in a configuration file, so told that its author finds and mends it.

/** One mistake. Lines and columns count from 1. */
export interface Finding {
  readonly file: string
  readonly line: number
  readonly column: number
  /** Where in the structure: `workloads[2].workloadIps[0]`; '' is the whole file. */
  readonly path: string
  readonly message: string
  /** What was probably meant; '' when nothing is near. */
  readonly suggestion: string
}

/** One line for people: `mesh.yaml:3:9: workloads[0].protocl: unknown field; did you mean "protocol"?` */
export function formatFinding({ file, line, column, path, message, suggestion }: Finding): string {
  const hint = suggestion === '' ? '' : `; did you mean ${JSON.stringify(suggestion)}?`
  return `${file}:${line}:${column}: ${path === '' ? '' : `${path}: `}${message}${hint}`
}

const MAX_COMPARED = 64 // longer words are no typing mistakes of ours; bounds the quadratic comparison

/** The candidate that differs by at most two typing mistakes, or ''. */
export function nearest(word: string, candidates: readonly string[]): string {
  let best = ''
  let bestDistance = 3
  if (word.length > MAX_COMPARED) return best
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance >= bestDistance || distance >= candidate.length) continue
    best = candidate
    bestDistance = distance
  }
  return best
}

function editDistance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let i = 1; i <= left.length; i++) {
    const next = [i]
    for (let j = 1; j <= right.length; j++) {
      const change = (row[j - 1] ?? 0) + (left[i - 1] === right[j - 1] ? 0 : 1)
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[right.length] ?? 0
}
