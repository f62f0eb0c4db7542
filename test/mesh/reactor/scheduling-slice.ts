// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { getPriority, release, setPriority } from 'node:os'
import t from 'tap'
import { requestShortSlices } from '../../../mesh/reactor/scheduling-slice.ts'

const slice = (): string | undefined =>
  /^se\.slice\s*:\s*(\d+)/m.exec(readFileSync('/proc/thread-self/sched', 'latin1'))?.[1]

const [major = 0, minor = 0] = release().split('.').map(Number)
const hasSlices = major > 6 || (major === 6 && minor >= 12)

t.test('a thread gets short slices where the kernel has them, and keeps its nice value', async (t) => {
  setPriority(3)
  const before = slice()
  t.equal(requestShortSlices(), true)
  t.equal(slice(), hasSlices && before !== undefined ? '100000' : before)
  t.equal(getPriority(), 3)
})
