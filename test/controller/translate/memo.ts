// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { Memo } from '../../../controller/translate/memo.ts'

t.test('the same inputs give the same result, other ones another', async (t) => {
  const memo = new Memo<object>()
  const [a, b] = [{}, {}]
  const first = memo.get('x', [a, 1], () => ({}))
  t.equal(
    memo.get('x', [a, 1], () => t.fail('is not made again') as never), // as: never returns
    first,
  )
  for (const inputs of [[b, 1], [b, 2], [b], [b, 1, 1]])
    t.not(
      memo.get('x', inputs, () => ({})),
      first,
    )
  t.not(
    memo.get('y', [a, 1], () => ({})),
    first,
  )
})

t.test('a result that is equal to the old one stays the old object', async (t) => {
  const memo = new Memo<{ n: number }>((old, fresh) => (old.n === fresh.n ? old : fresh))
  const first = memo.get('x', [1], () => ({ n: 1 }))
  t.equal(
    memo.get('x', [2], () => ({ n: 1 })),
    first,
  )
  t.same(
    memo.get('x', [3], () => ({ n: 2 })),
    { n: 2 },
  )
})

t.test('what nobody asks for is forgotten, what is touched is kept', async (t) => {
  const memo = new Memo<number>()
  for (const key of ['asked', 'touched', 'left']) memo.get(key, [], () => 1)
  memo.sweep()
  memo.get('asked', [], () => 2)
  memo.touch('touched')
  memo.touch('unknown')
  t.equal(memo.size, 3)
  memo.sweep()
  t.equal(memo.size, 2)
  t.equal(
    memo.get('touched', [], () => 3),
    1,
  )
  t.equal(
    memo.get('left', [], () => 3),
    3,
  )
})
