// SPDX-License-Identifier: Apache-2.0
// Which version this is.
import { readFileSync } from 'node:fs'

/** The version on the disk when this process started. */
export const { version: VERSION } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { version: string } // as: our own file
