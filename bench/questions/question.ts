// SPDX-License-Identifier: Apache-2.0
// The form of a question: one file each asks all subjects the same. README.md says what each wants to know.
import type { Turn } from '../load/turn.ts'
import type { Place } from '../place.ts'
import type { Figures, QuestionName, SubjectName } from '../results.ts'
import type { RunningSubject } from '../subjects/subject.ts'

/** How long things take in this run. */
export interface Timing {
  readonly seconds: number
  readonly warmUpSeconds: number
}

/** One part of a question; its figures join those of the other parts. */
export interface QuestionPart {
  /** Of questions whose subjects stay up: the usual one. */
  readonly place: Place
  /** @throws Error when the subject cannot be measured */
  measure(subject: RunningSubject, timing: Timing): Promise<Figures>
}

/** A question. */
export interface Question {
  readonly name: QuestionName
  /** Who is asked. */
  readonly subjects: readonly SubjectName[]
  /** Each part of each round meets a subject just started, in namespaces of its own. */
  readonly isFresh: boolean
  readonly parts: readonly QuestionPart[]
  /** Once before the first round, with all subjects up; not called for fresh ones. */
  prepare(subjects: readonly RunningSubject[], timing: Timing): Promise<void>
}

/** Longest time a program may take beyond the measured one. */
export const PROGRAM_SLACK_MS = 30_000

/** How long it takes by the clock for somebody who has one turn of several. */
export function inTurns({ seconds, warmUpSeconds }: Timing, { of }: Turn): Timing {
  return { seconds: seconds * of, warmUpSeconds: warmUpSeconds * of }
}

/** Milliseconds after which a program that measures for `timing` has failed. */
export function programTimeoutMs(timing: Timing): number {
  return (timing.seconds + timing.warmUpSeconds) * 1000 + PROGRAM_SLACK_MS
}
