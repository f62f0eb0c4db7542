// SPDX-License-Identifier: Apache-2.0
// How many descriptors this process may have. It may be changed from outside at any time (prlimit).
import { readFileSync } from 'node:fs'

/** The soft limit in the text of /proc/PID/limits; Infinity when there is none. */
export function parseDescriptorLimit(text: string): number {
  const soft = /^Max open files +(\d+)/m.exec(text)?.[1]
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft)
}

/** The soft limit of this process now. */
export function readDescriptorLimit(): number {
  return parseDescriptorLimit(readFileSync('/proc/self/limits', 'latin1'))
}
