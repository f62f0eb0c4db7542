// SPDX-License-Identifier: Apache-2.0
// How much of the processors nobody wants, or only who gives way to everybody (nice). Time that a host takes away from a virtual
// machine is not idle: it is not there.
import { readFileSync } from 'node:fs'

/** Columns of the first line of /proc/stat. SPEC proc_stat(5) */
const [NICE, IDLE, IOWAIT] = [1, 3, 4]

/** Reads what has passed on all processors since the machine started, in ticks. */
function readTicks(path) {
  const [line = ''] = readFileSync(path, 'latin1').split('\n', 1)
  const ticks = line.split(/ +/).slice(1, 9).map(Number)
  return { idle: ticks[NICE] + ticks[IDLE] + ticks[IOWAIT], all: ticks.reduce((sum, each) => sum + each, 0) }
}

/** A function that gives the idle share, 0…1, since it was last asked; 0 where nothing has passed, or nothing can be read. */
export function idleShare(path = '/proc/stat') {
  let last = null
  return () => {
    let now = null
    try {
      now = readTicks(path)
    } catch {
      // Another kernel than Linux.
    }
    const before = last
    last = now
    if (now === null || before === null) return 0
    return now.all > before.all ? (now.idle - before.idle) / (now.all - before.all) : 0
  }
}
