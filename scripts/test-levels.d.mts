// SPDX-License-Identifier: Apache-2.0
/** How many files at once: on a busy machine, and on one that is idle. */
export interface Jobs {
  readonly least: number
  readonly most: number
}

/** What files run with. */
export interface TestRun {
  readonly globs: readonly string[]
  readonly jobs: Jobs
  /** Of one file; it is ended then. */
  readonly seconds: number
}

export const ALONE: Jobs

export const WAITING: readonly string[]

export function orderOf(files: readonly string[]): string[]

export const LEVELS: Readonly<Record<string, TestRun>>

export function runOf(names: readonly string[]): TestRun
