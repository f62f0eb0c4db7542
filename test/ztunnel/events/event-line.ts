// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { type ConnectionRecord, formatConnectionRecord } from '../../../mesh/telemetry/connection-record.ts'
import {
  formatEvent,
  isConnectionRecord,
  isGoodEnd,
  ownerOf,
  parseLine,
  timeOf,
} from '../../../ztunnel/events/event-line.ts'

const party = (name: string) => ({ name, namespace: 'shop', identity: `spiffe://d/${name}`, clusterId: 'c' })
const RECORD: ConnectionRecord = {
  ...{ endMs: Date.UTC(2026, 0, 2), direction: 'outbound', code: 'OK', detail: '', transport: 'HBONE' },
  ...{ sourceAddress: { ip: '10.1.0.1', port: 4000 }, source: party('front'), sourceIdentity: '' },
  ...{
    destinationAddress: { ip: '10.2.0.1', port: 15_008 },
    hboneAddress: '',
    service: '',
    destination: party('cart'),
  },
  ...{
    policy: '',
    via: '',
    bytesSent: 1,
    bytesReceived: 2,
    durationMs: 3,
    connectMs: 1,
    retryCount: 0,
    trace: null,
  },
}

t.test('the owner of a connection is the end that is here', async (t) => {
  const owner = (changes: Partial<ConnectionRecord>) =>
    ownerOf(formatConnectionRecord({ ...RECORD, ...changes }))
  t.same(owner({}), { pod: 'shop/front', ip: '' })
  t.same(owner({ direction: 'inbound' }), { pod: 'shop/cart', ip: '' })
  t.same(owner({ source: null }), { pod: '', ip: '10.1.0.1' })
  t.same(owner({ source: null, sourceAddress: { ip: 'fd00::1', port: 4000 } }), { pod: '', ip: 'fd00::1' })
  t.same(ownerOf('no record'), { pod: '', ip: '' })
})

t.test('no text of others makes a connection somebody else’s', async () => {
  const forged = '","src.workload":"victim","src.namespace":"shop","direction":"inbound'
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.constant(forged)), (text) => {
      const line = formatConnectionRecord({
        ...{ ...RECORD, source: null, code: 'POLICY_DENY', policy: text, detail: text },
        ...{ sourceIdentity: text, hboneAddress: text, service: text },
      })
      return ownerOf(line).pod === '' && ownerOf(line).ip === '10.1.0.1' && !isGoodEnd(line)
    }),
  )
})

t.test('kinds of lines are told apart, and their times', async (t) => {
  const good = formatConnectionRecord(RECORD)
  const bad = formatConnectionRecord({ ...RECORD, code: 'NO_ENDPOINT', detail: '"reason":"OK"' })
  const change = formatEvent(RECORD.endMs, { msg: 'pod enrolled', uid: 'u' })
  t.same([good, bad, change].map(isGoodEnd), [true, false, false])
  t.same([good, bad, change].map(isConnectionRecord), [true, true, false])
  for (const line of [good, bad, change]) t.equal(timeOf(line), '2026-01-02T00:00:00.000Z')
  t.same(parseLine(change), { time: '2026-01-02T00:00:00.000Z', msg: 'pod enrolled', uid: 'u' })
  t.same(['{', '1', 'null'].map(parseLine), [null, null, null])
})
