// SPDX-License-Identifier: Apache-2.0
// What the kernel says of this process. It has to be opened to be read, and a process without a free descriptor must not
// fall over a look at itself: that would end connections which need none.
import { readFileSync } from 'node:fs'

/** The text of /proc/self/`name`; null while it cannot be read. */
export function readOwnProcess(name: 'limits' | 'smaps' | 'statm'): string | null {
  try {
    return readFileSync(`/proc/self/${name}`, 'latin1')
  } catch {
    return null
  }
}
