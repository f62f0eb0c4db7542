// SPDX-License-Identifier: Apache-2.0
// How many descriptors this process may have. It may be changed from outside at any time (prlimit).
import { readOwnProcess } from './own-process.ts'

/** The soft limit in the text of /proc/PID/limits; Infinity when there is none. */
export function parseDescriptorLimit(text: string): number {
  const soft = /^Max open files +(\d+)/m.exec(text)?.[1]
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft)
}

/** The soft limit of this process now; null while none is left to read it with. */
export function readDescriptorLimit(): number | null {
  const text = readOwnProcess('limits')
  return text === null ? null : parseDescriptorLimit(text)
}
