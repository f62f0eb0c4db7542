// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { Members } from '../../../mesh/runtime/members.ts'
import { MAX_HOLDERS, reportHolders } from '../../../ztunnel/carry/holders.ts'
import type { PodConnection } from '../../../ztunnel/carry/served-pod.ts'

const INFO = { uid: 'u1', name: 'front', namespace: 'shop', serviceAccount: 'front' }
const NOTHING = { abort() {}, recheck() {}, drain() {}, sheddable: null, memberIndex: -1 }

function connection(ageMs: number): PodConnection {
  const ends = { direction: 'outbound', source: 'a', destination: 'b', protocol: 'HBONE', peer: 'c' } as const
  const report = { ...ends, bytesSent: 1, bytesReceived: 2, ageMs }
  return { ...NOTHING, report: () => report }
}
const tunnel = (): PodConnection => ({ ...NOTHING, report: () => null })

function membersOf(connections: readonly PodConnection[]): Members<PodConnection> {
  const members = new Members<PodConnection>()
  for (const each of connections) members.add(each)
  return members
}

t.test('connections are named with their pod, tunnels are counted while they are waited for', async (t) => {
  const connections = membersOf([connection(5), tunnel(), connection(9)])
  const { connections: named, ...counts } = reportHolders([{ info: INFO, connections }], 1)
  t.same(counts, { connectionCount: 2, tunnelCount: 1 })
  t.same(
    named.map(({ worker, uid, ageMs }) => [worker, uid, ageMs]),
    [
      [1, 'u1', 9],
      [1, 'u1', 5],
    ],
  )
})

t.test('of many the oldest are named, all are counted', async (t) => {
  const connections = membersOf(Array.from({ length: 5 * MAX_HOLDERS }, (_, index) => connection(index)))
  const { connections: named, connectionCount } = reportHolders([{ info: INFO, connections }], 0)
  t.equal(connectionCount, 5 * MAX_HOLDERS)
  t.equal(named.length, MAX_HOLDERS)
  t.equal(named[0]?.ageMs, 5 * MAX_HOLDERS - 1)
  t.equal(named.at(-1)?.ageMs, 4 * MAX_HOLDERS)
})
