// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { DEMOTIONS_TOLD_PER_SECOND, MIN_DEMOTION_MS } from '../../../mesh/balance/limits.ts'
import { type DemotionMessage, NodeDemotions } from '../../../ztunnel/carry/node-demotions.ts'

/** Workers that tell each other as they do through main. */
function workers(count: number): {
  readonly all: readonly NodeDemotions[]
  readonly told: DemotionMessage[]
} {
  const told: DemotionMessage[] = []
  const all: NodeDemotions[] = Array.from(
    { length: count },
    (_, from) =>
      new NodeDemotions(0, (message) => {
        told.push(message)
        for (const [to, worker] of all.entries()) if (to !== from) worker.onTold(message, 0)
      }),
  )
  return { all, told }
}

t.test('what one finds out all know, and it is said once', async (t) => {
  const { all, told } = workers(3)
  all[0]?.onFailed('a', 0)
  for (const worker of all) t.equal(worker.known.isOut('a', 1), true)
  all[1]?.onFailed('a', 1)
  t.equal(told.length, 1, 'the others know')
  t.equal(all[0]?.known.isOut('a', MIN_DEMOTION_MS), false, 'two that find out at once are one failure')
  all[2]?.onServed('a', 2)
  for (const worker of all) t.equal(worker.known.isEmpty, true)
  all[0]?.onServed('a', 3)
  t.same(told, [
    { type: 'endpoint-demoted', key: 'a' },
    { type: 'endpoint-forgiven', key: 'a' },
  ])
})

t.test('one that serves and fails by turns costs the others a bounded number of messages', async (t) => {
  const { all, told } = workers(2)
  const [worker] = all
  for (let index = 0; index < 10 * DEMOTIONS_TOLD_PER_SECOND; index++) {
    worker?.onFailed('a', 0)
    worker?.onServed('a', 0)
  }
  t.equal(told.length, DEMOTIONS_TOLD_PER_SECOND)
  worker?.onFailed('a', 1000)
  t.equal(told.length, DEMOTIONS_TOLD_PER_SECOND + 1, 'a second later there is room')
})
