// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { MendedPods } from '../../ztunnel/mended-pods.ts'

t.test('each is counted, and the last time of each pod is known', async (t) => {
  const mended = new MendedPods()
  mended.onMended('a', 1)
  mended.onMended('b', 2)
  mended.onMended('a', 3)
  t.equal(mended.count, 3)
  t.strictSame(mended.atMs, { b: 2, a: 3 })
})

t.test('so many pods are remembered, the latest ones', async (t) => {
  const mended = new MendedPods()
  for (let index = 0; index <= 1024; index++) mended.onMended(`u${index}`, index)
  mended.onMended('u1', 5000)
  t.equal(Object.keys(mended.atMs).length, 1024)
  t.notOk('u0' in mended.atMs)
  t.equal(mended.atMs.u1, 5000)
  mended.onMended('next', 5001)
  t.notOk('u2' in mended.atMs, 'the one that was longest ago')
  t.equal(mended.count, 1027)
})
