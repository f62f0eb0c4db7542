// SPDX-License-Identifier: Apache-2.0
// What the figures should be. A gate is what we promise, a goal what we aim at; neither fails a run. Pure.
import { type Summary, summarizeDifference, summarizeMetric, summarizeRatio } from './measure/statistics.ts'
import type { QuestionName, Results, Row, SubjectName } from './results.ts'

/** What is judged. */
export type Comparison =
  /** Our figure itself. */
  | { readonly as: 'figure' }
  /** Ours divided by theirs. */
  | { readonly as: 'ratio'; readonly subject: SubjectName }
  /** Ours less theirs, times `factor`. */
  | { readonly as: 'difference'; readonly subject: SubjectName; readonly factor: number }
  /** Ours divided by another figure of ours. */
  | { readonly as: 'growth'; readonly base: string }

/** One line to judge. */
export interface Goal {
  readonly kind: 'gate' | 'goal'
  readonly label: string
  readonly question: QuestionName
  readonly metric: string
  readonly comparison: Comparison
  readonly relation: '≥' | '≤'
  readonly limit: number
  /** Stands behind limit and value: `×`, ` KB`. */
  readonly unit: string
}

function ratio(
  kind: Goal['kind'],
  subject: SubjectName,
  label: string,
  question: QuestionName,
  metric: string,
  relation: Goal['relation'],
  limit: number,
): Goal {
  return {
    ...{ kind, question, metric, relation, limit },
    label: `${label}, against ${subject}`,
    comparison: { as: 'ratio', subject },
    unit: '×',
  }
}

function own(
  label: string,
  metric: string,
  limit: number,
  unit: string,
  question: QuestionName = 'memory',
): Goal {
  const comparison: Comparison = { as: 'figure' }
  return { kind: 'gate', label, question, metric, comparison, relation: '≤', limit, unit }
}

function growth(label: string, question: QuestionName, metric: string, base: string, limit: number): Goal {
  const comparison: Comparison = { as: 'growth', base }
  return { kind: 'goal', label, question, metric, comparison, relation: '≤', limit, unit: '×' }
}

/** A latency that we add to the same exchange without a proxy. */
function added(label: string, question: QuestionName, metric: string, limitMs: number): Goal {
  const comparison: Comparison = { as: 'difference', subject: 'direct', factor: 0.001 }
  return { kind: 'goal', label, question, metric, comparison, relation: '≤', limit: limitMs, unit: ' ms' }
}

export const GOALS: readonly Goal[] = [
  ratio('gate', 'ztunnel', 'requests/s', 'requests', 'requestsPerSecond', '≥', 1.2),
  ratio('gate', 'ztunnel', 'CPU per request', 'requests', 'cpuMicros', '≤', 0.75),
  own('memory per idle stream', 'streamKb', 6, ' KB'),
  own('memory per idle tunnel', 'tunnelKb', 40, ' KB'),
  own('data process, idle', 'idleMb', 90, ' MB'),
  ratio('goal', 'ztunnel', 'requests/s', 'requests', 'requestsPerSecond', '≥', 1.3),
  ratio('goal', 'ztunnel', 'CPU per request', 'requests', 'cpuMicros', '≤', 0.65),
  ratio('goal', 'ztunnel', 'p99 at 90 % load', 'latency', 'p99Micros90', '≤', 0.5),
  ratio('goal', 'ztunnel', 'one bulk stream, Gbit/s', 'bulk', 'gbitPerSecond1', '≥', 1.1),
  ratio('goal', 'ztunnel', 'one bulk stream, CPU per GB', 'bulk', 'cpuSecondsPerGb1', '≤', 1),
  ratio('goal', 'ztunnel', 'connections/s', 'connections', 'connectionsPerSecond', '≥', 1.2),
  ratio('goal', 'envoy', 'requests/s', 'requests', 'requestsPerSecond', '≥', 1.5),
  ratio('goal', 'ztunnel', 'requests/s on one node', 'same-node', 'requestsPerSecond', '≥', 1.5),
  ratio('goal', 'ztunnel', 'bulk on one node', 'same-node', 'gbitPerSecond1', '≥', 1.5),
  ratio('goal', 'ztunnel', 'requests/s passed through', 'passthrough', 'requestsPerSecond', '≥', 1),
  ratio('goal', 'ztunnel', 'bulk passed through', 'passthrough', 'gbitPerSecond1', '≥', 1),
  added('p99 added at 1,000 requests/s', 'neighbour', 'p99MicrosAlone', 0.2),
  growth('p99 beside a neighbour that moves data', 'neighbour', 'p99MicrosBeside', 'p99MicrosAlone', 1.25),
  growth('CPU per connection, 10 → 10,000 rules', 'rules', 'cpuMicros10000', 'cpuMicros10', 1.1),
  ratio('gate', 'envoy', 'waypoint: requests/s', 'waypoint', 'requestsPerSecond1', '≥', 0.9),
  // 110 MB + 32 × 30 KB, with whatever is asked.
  own('waypoint: data process with 32 connections', 'residentMb100', 111, ' MB', 'waypoint'),
  own('waypoint: the same, JWT and authorization', 'residentMbSecured', 111, ' MB', 'waypoint'),
  own('waypoint: the same, calls of gRPC', 'residentMbGrpc', 111, ' MB', 'waypoint'),
  own('waypoint: the same, bodies of 1 MB', 'residentMbBig', 111, ' MB', 'waypoint'),
  ratio('goal', 'envoy', 'waypoint: requests/s', 'waypoint', 'requestsPerSecond1', '≥', 1.1),
  ratio('goal', 'envoy', 'waypoint: p99', 'waypoint', 'p99Micros1', '≤', 1),
  ratio('goal', 'envoy', 'waypoint: Gbit/s of 1 MB bodies', 'waypoint', 'gbitPerSecond', '≥', 1),
  ratio('goal', 'envoy', 'waypoint: gRPC calls/s', 'waypoint', 'requestsPerSecondGrpc', '≥', 1),
  ratio(
    'goal',
    'envoy',
    'waypoint: requests/s with JWT, authorization and 100 routes',
    'waypoint',
    'requestsPerSecondSecured',
    '≥',
    1,
  ),
  growth('waypoint: CPU per request, 1 → 1,000 routes', 'waypoint', 'cpuMicros1000', 'cpuMicros1', 1.2),
]

/** A goal and what was found; `verdict` is `open` while nothing comparable was measured. */
export interface JudgedGoal {
  readonly goal: Goal
  readonly found: Summary | null
  readonly verdict: 'pass' | 'miss' | 'open'
}

type Rows = Readonly<Partial<Record<SubjectName, Row>>>

function find({ metric, comparison }: Goal, rows: Rows): Summary | null {
  const { sidestep } = rows
  switch (comparison.as) {
    case 'figure':
      return summarizeMetric(sidestep, metric)
    case 'ratio':
      return summarizeRatio(sidestep, rows[comparison.subject], metric)
    case 'growth':
      return summarizeRatio(sidestep, sidestep, metric, comparison.base)
    case 'difference': {
      const { factor, subject } = comparison
      const found = summarizeDifference(sidestep, rows[subject], metric)
      if (found === null) return null
      const { median, min, max, count } = found
      return { median: median * factor, min: min * factor, max: max * factor, count }
    }
  }
}

/** Judges by the median. */
export function judgeGoals(results: Results, goals: readonly Goal[] = GOALS): JudgedGoal[] {
  return goals.map((goal) => {
    const found = find(goal, results.questions[goal.question] ?? {})
    if (found === null) return { goal, found, verdict: 'open' }
    const isMet = goal.relation === '≥' ? found.median >= goal.limit : found.median <= goal.limit
    return { goal, found, verdict: isMet ? 'pass' : 'miss' }
  })
}
