// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { ClusterGauges } from '../../../waypoint/upstream/cluster-gauges.ts'

t.test('several count in one memory, and each can take its own along', async (t) => {
  const shared = new SharedArrayBuffer(ClusterGauges.BYTES)
  const [one, two] = [new ClusterGauges(shared), new ClusterGauges(shared)]
  one.add('connections', 1)
  two.add('connections', 1)
  two.add('connections', 1)
  two.add('pending', 1)
  t.same([one.get('connections'), one.get('pending'), one.get('requests')], [3, 1, 0])
  const next = new SharedArrayBuffer(ClusterGauges.BYTES)
  two.move(next)
  t.same([one.get('connections'), one.get('pending')], [1, 0])
  t.same([two.get('connections'), two.get('pending')], [2, 1])
  two.add('connections', -1)
  t.equal(new ClusterGauges(next).get('connections'), 1)
})

t.test('without shared memory each counts for itself', async (t) => {
  const [one, two] = [new ClusterGauges(null), new ClusterGauges(null)]
  one.add('retries', 1)
  t.same([one.get('retries'), two.get('retries')], [1, 0])
})
