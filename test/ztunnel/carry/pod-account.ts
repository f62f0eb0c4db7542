// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { DEFAULT_KEEPALIVE } from '../../../mesh/reactor/socket-options.ts'
import { TURN_LIMITS } from '../../../mesh/reactor/turn-share.ts'
import {
  arrive,
  createPodAccountMemory,
  PodAccount,
  PodAccounts,
} from '../../../ztunnel/carry/pod-account.ts'

const LIMITS = {
  ...{ connections: 3, connectionsPerSecond: 10, handshakesPerSecond: 5 },
  ...{ bufferedBytes: 1 << 20, halfCloseMs: 1000, keepalive: DEFAULT_KEEPALIVE, turn: TURN_LIMITS },
}
const SECOND_NS = 1_000_000_000n

t.test('in no second more arrive than a second may have, and that many do arrive', async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 50 }),
      fc.array(fc.bigInt({ min: 0n, max: 300_000_000n }), { minLength: 1, maxLength: 300 }),
      (perSecond, gapsNs) => {
        let [nowNs, fullNs] = [0n, 0n]
        const admitted: bigint[] = []
        for (const gapNs of gapsNs) {
          nowNs += gapNs
          const nextNs = arrive(fullNs, nowNs, perSecond)
          if (nextNs === null) continue
          fullNs = nextNs
          admitted.push(nowNs)
        }
        // A bucket of a second's worth that also refills: at most twice that in any second.
        return admitted.every((startNs, index) => {
          const endNs = admitted[index + perSecond * 2]
          return endNs === undefined || endNs - startNs >= SECOND_NS
        })
      },
    ),
  )
  let fullNs = 0n
  let count = 0
  for (let next = arrive(fullNs, 5n, 7); next !== null; next = arrive(fullNs, 5n, 7)) {
    fullNs = next
    count++
  }
  t.equal(count, 7, 'at once')
  t.equal(arrive(fullNs, 5n + SECOND_NS / 7n, 7) === null, false, 'and one more in its time')
})

t.test('connections are counted over all workers, and refused beyond the limit', async (t) => {
  const memory = createPodAccountMemory(2)
  const [one, two] = [0, 1].map((worker) => new PodAccount(memory, worker, LIMITS, () => 0n))
  if (one === undefined || two === undefined) throw new RangeError('no account')
  one.opened()
  one.opened()
  two.opened()
  t.equal(two.admitConnection(), null, 'the third is the last')
  two.opened()
  t.match(two.admitConnection(), { code: 'LIMIT_POD', detail: 'more than 3 connections of one pod' })
  t.match(two.admitHandshake(), { code: 'LIMIT_POD' })
  two.closed()
  t.equal(one.admitConnection(), null)
  t.equal(one.openCount, 3)
  new PodAccount(memory, 0, LIMITS, () => 0n)
  t.equal(two.openCount, 1, 'what a worker that died had open is gone')
})

t.test('rates are of all workers together, for connections and handshakes apart', async (t) => {
  const memory = createPodAccountMemory(2)
  let nowNs = 1n
  const [one, two] = [0, 1].map((worker) => new PodAccount(memory, worker, LIMITS, () => nowNs))
  if (one === undefined || two === undefined) throw new RangeError('no account')
  const admitted = [...Array(20)].map((_, index) => (index % 2 === 0 ? one : two).admitConnection())
  t.equal(admitted.filter((each) => each === null).length, 10)
  t.match(one.admitConnection(), { code: 'LIMIT_POD', detail: 'more than 10 new connections in a second' })
  t.equal([...Array(9)].filter(() => two.admitHandshake() === null).length, 5)
  nowNs += SECOND_NS
  t.equal(two.admitConnection(), null)
  t.equal(one.admitHandshake(), null)
})

t.test('main reads what was refused; a pod that comes again begins anew', async (t) => {
  const accounts = new PodAccounts(2)
  const memory = accounts.open('u', 1)
  t.equal(accounts.open('u', 1), memory, 'told again, it is the same')
  const account = new PodAccount(memory, 1, LIMITS, () => 0n)
  t.match(account.refuse('node', 'little left'), { code: 'LIMIT_NODE' })
  for (let i = 0; i < 12; i++) account.admitConnection()
  t.same(accounts.refusals('u'), { connections: 0, 'connection-rate': 2, 'handshake-rate': 0, node: 1 })
  t.not(accounts.open('u', 2), memory)
  accounts.close('u')
  t.same(accounts.refusals('u'), { connections: 0, 'connection-rate': 0, 'handshake-rate': 0, node: 0 })
})
