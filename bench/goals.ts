// SPDX-License-Identifier: Apache-2.0
// What the figures should be. A gate is what we promise, a goal what we aim at; neither fails a run. Pure.
import { type Summary, summarizeMetric, summarizeRatio } from './measure/statistics.ts'
import type { QuestionName, Results, SubjectName } from './results.ts'

/** One line to judge. */
export interface Goal {
  readonly kind: 'gate' | 'goal'
  readonly label: string
  readonly question: QuestionName
  readonly metric: string
  /** Ours divided by theirs; null: our figure itself. */
  readonly against: SubjectName | null
  readonly relation: '≥' | '≤'
  readonly limit: number
  /** Stands behind limit and value: `×`, ` KB`. */
  readonly unit: string
}

function ratio(
  kind: Goal['kind'],
  against: SubjectName,
  label: string,
  question: QuestionName,
  metric: string,
  relation: Goal['relation'],
  limit: number,
): Goal {
  return {
    kind,
    label: `${label}, against ${against}`,
    question,
    metric,
    against,
    relation,
    limit,
    unit: '×',
  }
}

function own(label: string, metric: string, limit: number, unit: string): Goal {
  return { kind: 'gate', label, question: 'memory', metric, against: null, relation: '≤', limit, unit }
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
]

/** A goal and what was found; `verdict` is `open` while nothing comparable was measured. */
export interface JudgedGoal {
  readonly goal: Goal
  readonly found: Summary | null
  readonly verdict: 'pass' | 'miss' | 'open'
}

/** Judges by the median. */
export function judgeGoals(results: Results, goals: readonly Goal[] = GOALS): JudgedGoal[] {
  return goals.map((goal) => {
    const rows = results.questions[goal.question]
    const found =
      goal.against === null
        ? summarizeMetric(rows?.sidestep, goal.metric)
        : summarizeRatio(rows?.sidestep, rows?.[goal.against], goal.metric)
    if (found === null) return { goal, found, verdict: 'open' }
    const isMet = goal.relation === '≥' ? found.median >= goal.limit : found.median <= goal.limit
    return { goal, found, verdict: isMet ? 'pass' : 'miss' }
  })
}
