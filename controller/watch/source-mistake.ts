// SPDX-License-Identifier: Apache-2.0
// Something a source could not read.
import type { ObjectOrigin } from './config-object.ts'

/**
 * `error`: the object does not count, its last good version stays in force. `warning`: the object counts, but not all
 * of it means what its author thinks. `info`: nothing to mend.
 */
export type MistakeSeverity = 'error' | 'warning' | 'info'

export interface SourceMistake {
  readonly severity: MistakeSeverity
  /** null where there is no file: the message names the object. */
  readonly origin: ObjectOrigin | null
  /** Where in the object: `spec.ports[0].number`; '' is the whole. */
  readonly path: string
  readonly message: string
  /** What was probably meant; '' when nothing is near. */
  readonly suggestion: string
}
