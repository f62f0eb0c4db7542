// SPDX-License-Identifier: Apache-2.0
/** What files run with. */
export interface TestRun {
  readonly globs: readonly string[]
  /** How many at once. */
  readonly jobs: number
  /** Of one file; it is ended then. */
  readonly seconds: number
}

export const LEVELS: Readonly<Record<string, TestRun>>

export function runOf(names: readonly string[]): TestRun
