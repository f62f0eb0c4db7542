// SPDX-License-Identifier: Apache-2.0
// What the benches have measured, as it lies in results.json, and how a run joins the runs before it. Pure.
// A row (question × subject) is replaced as a whole; rows of another machine are dropped, never compared.

/** Who is measured. `direct` is the same exchange without any proxy: what the machine and the load tools allow. */
export const SUBJECT_NAMES = ['direct', 'sidestep', 'ztunnel', 'envoy'] as const
export type SubjectName = (typeof SUBJECT_NAMES)[number]

/** What is asked; README.md states each. */
export const QUESTION_NAMES = [
  'requests',
  'latency',
  'bulk',
  'connections',
  'memory',
  'same-node',
  'passthrough',
  'neighbour',
  'rules',
  'waypoint',
] as const
export type QuestionName = (typeof QUESTION_NAMES)[number]

/** Figures by the key of their metric (questions/metrics.ts). */
export type Figures = Readonly<Record<string, number>>

/** One run of one question on one subject. Samples of equal round and run were taken next to each other. */
export interface Sample {
  readonly round: number
  readonly figures: Figures
}

/** All runs of one question on one subject. */
export interface Row {
  /** Equal for rows measured interleaved: only those are divided by each other. */
  readonly run: string
  readonly date: string
  readonly commit: string
  /** Seconds each run lasted. */
  readonly seconds: number
  /** How busy the machine was with other things before the first run. */
  readonly busyPercent: number
  readonly samples: readonly Sample[]
  /** Why there are no samples, or fewer than rounds; '' when all went well. */
  readonly failure: string
}

/** Where it was measured. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGb: number
  readonly kernel: string
  readonly node: string
}

/** What a subject was, for the reader who wants to repeat it. */
export interface SubjectDescription {
  readonly version: string
  readonly settings: string
  /** It was not at hand; `settings` says why. */
  readonly isMissing: boolean
}

/** The whole of results.json. */
export interface Results {
  readonly machine: Machine
  readonly tools: string
  readonly subjects: Readonly<Partial<Record<SubjectName, SubjectDescription>>>
  readonly questions: Readonly<Partial<Record<QuestionName, Readonly<Partial<Record<SubjectName, Row>>>>>>
}

const MAX_REASON_LENGTH = 200

/** An error's first line without paths: what may stand on a page that others read. */
export function publicReason(error: string): string {
  const line = error.split('\n', 1)[0] ?? ''
  return line.replaceAll(/(?<![\w./])\/(?:[^\s/:'"]+\/)+[^\s:'"]*/g, '…').slice(0, MAX_REASON_LENGTH)
}

/** True when figures of both may stand in one table. The kernel and Node may move on; the row names its commit. */
function isSameMachine(a: Machine, b: Machine): boolean {
  return a.cpu === b.cpu && a.cores === b.cores
}

/** Joins a new run with what is known. */
export function mergeResults(known: Results | null, fresh: Results): Results {
  if (known === null || !isSameMachine(known.machine, fresh.machine)) return fresh
  const questions: Partial<Record<QuestionName, Readonly<Partial<Record<SubjectName, Row>>>>> = {}
  for (const name of QUESTION_NAMES) {
    const rows = { ...known.questions[name], ...fresh.questions[name] }
    if (Object.keys(rows).length > 0) questions[name] = rows
  }
  const subjects: Partial<Record<SubjectName, SubjectDescription>> = { ...known.subjects }
  for (const name of SUBJECT_NAMES) {
    const description = fresh.subjects[name]
    if (description === undefined) continue
    // Rows that were measured when it was at hand are still its own.
    const isWorse = description.isMissing && subjects[name]?.isMissing === false
    if (!isWorse) subjects[name] = description
  }
  return { ...fresh, subjects, questions }
}
