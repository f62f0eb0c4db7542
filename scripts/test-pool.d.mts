// SPDX-License-Identifier: Apache-2.0
/** What a test file has printed, and whether it went well. */
export interface FileResult {
  readonly file: string
  readonly isOk: boolean
  readonly lines: readonly string[]
  readonly seconds: number
}

import type { Jobs } from './test-levels.d.mts'

export function runFiles(
  files: readonly string[],
  jobs: Jobs,
  timeoutSeconds: number,
  onDone: (result: FileResult) => void,
): Promise<readonly FileResult[]>
