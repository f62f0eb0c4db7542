// SPDX-License-Identifier: Apache-2.0
// A table with a column for each round, and goals that every round has to reach. Pure.

/** One row: what, each round's figure, the goal and whether every round reached it. `goal` '': nothing is judged. */
export function roundRow(
  what: string,
  figures: readonly number[],
  digits: number,
  goal = '',
  isReached: (figure: number) => boolean = () => true,
): string {
  const verdict = goal === '' ? '' : figures.every(isReached) ? 'reached' : '**missed**'
  return `| ${[what, ...figures.map((figure) => figure.toFixed(digits)), goal, verdict].join(' | ')} |`
}

/** The rows under their heads. */
export function roundTable(roundCount: number, rows: readonly string[]): string {
  const heads = Array.from({ length: roundCount }, (_, index) => `Round ${index + 1}`).join(' | ')
  return `| | ${heads} | Goal | |\n|---|${'---|'.repeat(roundCount)}---|---|\n${rows.join('\n')}`
}
