// SPDX-License-Identifier: Apache-2.0
// Medians, spreads, and ratios of runs that were made next to each other. Pure.
import type { Row } from '../results.ts'

/** A figure over all runs. */
export interface Summary {
  readonly median: number
  readonly min: number
  readonly max: number
  readonly count: number
}

/** The median of at least one value; NaN of none. */
export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

/** Summary of values; null of none. */
export function summarize(values: readonly number[]): Summary | null {
  if (values.length === 0) return null
  return {
    median: median(values),
    min: Math.min(...values),
    max: Math.max(...values),
    count: values.length,
  }
}

function figuresByRound(row: Row, metric: string): Map<number, number> {
  const figures = new Map<number, number>()
  for (const { round, figures: all } of row.samples) {
    const value = all[metric]
    if (value !== undefined && Number.isFinite(value)) figures.set(round, value)
  }
  return figures
}

/** Summary of one metric of a row; null when no run has it. */
export function summarizeMetric(row: Row | undefined, metric: string): Summary | null {
  return row === undefined ? null : summarize([...figuresByRound(row, metric).values()])
}

/**
 * `row` divided by `base`, round by round: a machine that slows down for a while slows both, so the quotient of
 * neighbours says more than the quotient of medians. Null when they were not measured in one run.
 */
export function summarizeRatio(
  row: Row | undefined,
  base: Row | undefined,
  metric: string,
  baseMetric = metric,
): Summary | null {
  return summarizePairs(row, base, metric, baseMetric, (value, of) => (of > 0 ? value / of : null))
}

/** `row` less `base`, round by round. Null as above. */
export function summarizeDifference(
  row: Row | undefined,
  base: Row | undefined,
  metric: string,
): Summary | null {
  return summarizePairs(row, base, metric, metric, (value, of) => value - of)
}

function summarizePairs(
  row: Row | undefined,
  base: Row | undefined,
  metric: string,
  baseMetric: string,
  combine: (value: number, base: number) => number | null,
): Summary | null {
  if (row === undefined || base === undefined || row.run !== base.run) return null
  const bases = figuresByRound(base, baseMetric)
  const pairs = [...figuresByRound(row, metric)].map(([round, value]) => {
    const of = bases.get(round)
    return of === undefined ? null : combine(value, of)
  })
  return summarize(pairs.filter((each) => each !== null))
}

/** The subjects of one round in turn: whoever goes first in one round goes last in the next. */
export function rotate<T>(items: readonly T[], round: number): T[] {
  const start = items.length === 0 ? 0 : round % items.length
  return [...items.slice(start), ...items.slice(0, start)]
}
