// SPDX-License-Identifier: Apache-2.0
// How much grows old that should die young: what one piece of garbage keeps, V8 cannot free without a full collection.
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const LOOK_STEPS = 500

function collect(): void {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void // as: V8's own function
  gc()
}

function oldBytes(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'old_space')?.space_used_size ?? 0
}

/** What is there now is made old; then so many steps are made. Most bytes by which the old part of the heap grew meanwhile. */
export function grownOldBytes(steps: number, step: (index: number) => void): number {
  collect()
  collect()
  const startBytes = oldBytes()
  let most = 0
  for (let index = 0; index < steps; index++) {
    step(index)
    if (index % LOOK_STEPS === 0) most = Math.max(most, oldBytes() - startBytes)
  }
  return most
}
