// SPDX-License-Identifier: Apache-2.0
// Time that a virtual machine had for itself: deadlines in it hold on a host that has given its processors to others.
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

/** Of /proc/stat, in USER_HZ: 100 a second on every machine. proc(5). */
const TICK_MS = 10
const STEAL_COLUMN = 8

/** Milliseconds since some moment, less what was stolen of all processors on average. */
export function ownMs(): number {
  const [all = ''] = readFileSync('/proc/stat', 'latin1').split('\n', 1)
  const stolen = Number(all.split(/ +/)[STEAL_COLUMN] ?? 0)
  return performance.now() - (stolen * TICK_MS) / availableParallelism()
}
