// SPDX-License-Identifier: Apache-2.0
// Something a source could not read.
import type { ObjectOrigin } from './config-object.ts'

export interface SourceMistake {
  /** null where there is no file: the detail names the object. */
  readonly origin: ObjectOrigin | null
  /** Where in the object: `spec.ports[0].number`; '' is the whole. */
  readonly path: string
  readonly message: string
  /** What was probably meant; '' when nothing is near. */
  readonly suggestion: string
}
