// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { EDGE_RETENTION_MS, EdgeStore } from '../../../controller/edges/edge-store.ts'
import type { Edge } from '../../../mesh/telemetry/edge.ts'
import { ManualClock } from '../../support/manual-clock.ts'

function edge(namespace: string, opened: number): Edge {
  return {
    ...{ reporter: 'source', service: '', isPlaintext: false, reason: 'OK' },
    source: { namespace, workload: 'front', identity: '' },
    destination: { namespace: 'shop', workload: 'cart', identity: '' },
    ...{ opened, failed: 1, receivedBytes: 0, sentBytes: 2 },
  }
}

t.test('reports of a node add up; each node has its own', async (t) => {
  const clock = new ManualClock()
  const store = new EdgeStore(clock)
  const firstMs = clock.nowMs
  store.add('n1', [edge('shop', 3)])
  clock.advance(1000)
  store.add('n1', [edge('shop', 2)])
  store.add('n2', [edge('web', 1)])
  const lastMs = clock.nowMs
  t.same(store.list(), [
    { ...edge('shop', 5), failed: 2, sentBytes: 4, node: 'n1', firstMs, lastMs },
    { ...edge('web', 1), node: 'n2', firstMs: lastMs, lastMs },
  ])
  t.equal(store.list('web').length, 1)
  t.equal(store.list('shop').length, 2, 'of either side')
  t.same(store.list('elsewhere'), [])
})

t.test('what was heard of longest ago is forgotten: after a day, or for room', async (t) => {
  const clock = new ManualClock()
  const store = new EdgeStore(clock, 3)
  store.add('n1', [edge('a', 1), edge('b', 1), edge('c', 1)])
  store.add('n1', [edge('a', 1)])
  store.add('n1', [edge('d', 1)])
  t.same(
    store.list().map(({ source }) => source?.namespace),
    ['c', 'a', 'd'],
  )
  t.equal(store.droppedCount, 1)
  clock.advance(EDGE_RETENTION_MS)
  t.same(store.list(), [])
  store.add('n1', [edge('e', 1)])
  t.equal(store.size, 1, 'and their room is free')
  t.equal(store.droppedCount, 1)
})
