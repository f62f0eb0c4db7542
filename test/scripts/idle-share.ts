// SPDX-License-Identifier: Apache-2.0
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { idleShare } from '../../scripts/idle-share.mjs'

t.test('idle is what nobody wants; what the host has taken is not', async (t) => {
  const path = join(t.testdir({}), 'stat')
  const idle = idleShare(path)
  t.equal(idle(), 0, 'nothing can be read')
  // user nice system idle iowait irq softirq steal guest
  writeFileSync(path, 'cpu  100 0 100 500 0 0 0 0 0 0\ncpu0 1 1 1 1\n')
  t.equal(idle(), 0, 'nothing has passed that is known')
  t.equal(idle(), 0, 'nothing has passed')
  writeFileSync(path, 'cpu  110 0 110 540 20 0 0 20 0 0\ncpu0 1 1 1 1\n')
  t.equal(idle(), 0.6)
  writeFileSync(path, 'cpu  110 0 110 540 20 0 0 120 0 0\n')
  t.equal(idle(), 0)
  writeFileSync(path, 'cpu  110 50 110 590 20 0 0 120 0 0\n')
  t.equal(idle(), 1)
})
