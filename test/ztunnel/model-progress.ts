// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { ModelProgress } from '../../ztunnel/model-progress.ts'

t.test('a version is in force when the last worker has it', async (t) => {
  const progress = new ModelProgress()
  progress.onSent(1, 100, 130, 2)
  progress.onWorker(1, 1, 140)
  t.equal(progress.inForce, null)
  progress.onWorker(0, 1, 145)
  t.same(progress.inForce, { version: 1, totalMs: 45, sentMs: 30 })
})

t.test('a worker that confirms a later version has the earlier ones', async (t) => {
  const progress = new ModelProgress()
  progress.onSent(1, 100, 101, 2)
  progress.onSent(2, 110, 112, 2)
  progress.onWorker(0, 2, 120)
  progress.onWorker(1, 1, 121)
  t.match(progress.inForce, { version: 1, totalMs: 21 })
  progress.onWorker(1, 2, 130)
  t.same(progress.inForce, { version: 2, totalMs: 20, sentMs: 2 })
  progress.onWorker(1, 2, 999)
  t.match(progress.inForce, { totalMs: 20 }, 'a worker that starts again changes nothing')
})
