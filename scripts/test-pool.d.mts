// SPDX-License-Identifier: Apache-2.0
import type { Jobs } from './test-levels.d.mts'

/** What a test file has printed, and whether it went well. */
export interface FileResult {
  readonly file: string
  readonly isOk: boolean
  readonly lines: readonly string[]
  readonly seconds: number
}

export function runFiles(
  files: readonly string[],
  jobs: Jobs,
  timeoutSeconds: number,
  onDone: (result: FileResult) => void,
): Promise<readonly FileResult[]>
