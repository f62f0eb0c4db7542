// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { ClusterGauges } from '../../../waypoint/upstream/cluster-gauges.ts'
import { allowedRetries, RetryPlace } from '../../../waypoint/upstream/retry-allowance.ts'

t.test('a few at least, a fifth of what is under way, at most what the policy says', async (t) => {
  const none = Number.POSITIVE_INFINITY
  t.same(
    [0, 15, 19, 20, 100, 1_004].map((active) => allowedRetries(active, none)),
    [3, 3, 3, 4, 20, 200],
  )
  t.same(
    [0, 100].map((active) => allowedRetries(active, 2)),
    [2, 2],
  )
  t.equal(allowedRetries(100, 1_000), 20)
})

t.test('a place is given back once', async (t) => {
  const gauges = new ClusterGauges(null)
  const [one, two] = [new RetryPlace(gauges), new RetryPlace(gauges)]
  t.equal(gauges.get('retries'), 2)
  one.giveBack()
  one.giveBack()
  t.equal(gauges.get('retries'), 1)
  two.giveBack()
  t.equal(gauges.get('retries'), 0)
})
