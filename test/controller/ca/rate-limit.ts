// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { RateLimit } from '../../../controller/ca/rate-limit.ts'

const rate = { capacity: 3, perSecond: 2 }

t.test('each key has its burst and its rate', async (t) => {
  const limit = new RateLimit(rate)
  for (let count = 0; count < 3; count++) t.equal(limit.take('a', 0), undefined)
  t.match(limit.take('a', 0), { kind: 'refusal', code: 'LIMIT_NODE' })
  t.equal(limit.take('b', 0), undefined, 'nobody else is disturbed')
  t.equal(limit.take('a', 500), undefined)
  t.match(limit.take('a', 500), { code: 'LIMIT_NODE' })
})

t.test('a look counts nothing', async (t) => {
  const limit = new RateLimit(rate)
  for (let count = 0; count < 9; count++) t.equal(limit.look('a', 0), undefined)
  for (let count = 0; count < 3; count++) limit.take('a', 0)
  t.match(limit.look('a', 0), { code: 'LIMIT_NODE' })
  t.equal(limit.look('a', 500), undefined)
  t.equal(limit.look('b', 0), undefined)
})

t.test('memory is bounded: the quiet are forgotten, a crowd shares', async (t) => {
  const limit = new RateLimit(rate, 2)
  limit.take('a', 0)
  limit.take('b', 0)
  const crowd = ['c', 'd', 'e'].map((key) => limit.take(key, 0))
  t.same(crowd, [undefined, undefined, undefined])
  t.match(limit.take('f', 0), { code: 'LIMIT_NODE' }, 'all strangers together have one burst')
  t.match(limit.look('f', 0), { code: 'LIMIT_NODE' })
  t.equal(limit.take('a', 0), undefined, 'who was there before keeps his own')
  t.equal(limit.size, 3)
  t.equal(limit.take('g', 10_000), undefined)
  t.equal(limit.size, 1)
})
