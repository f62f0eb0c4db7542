// SPDX-License-Identifier: Apache-2.0
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type DemoRecord, parseRecord, RecordTail } from '../../demo/records.ts'
import { formatConnectionRecord } from '../../mesh/telemetry/connection-record.ts'

const LINE = formatConnectionRecord({
  endMs: 0,
  direction: 'inbound',
  code: 'POLICY_DENY',
  detail: 'denied',
  transport: 'HBONE',
  sourceAddress: { ip: '10.1.0.3', port: 4000 },
  source: null,
  sourceIdentity: 'spiffe://cluster.local/ns/shop/sa/batch',
  destinationAddress: null,
  hboneAddress: '10.2.0.2:8080',
  service: '',
  destination: {
    name: 'cart',
    namespace: 'shop',
    identity: 'spiffe://cluster.local/ns/shop/sa/cart',
    clusterId: '',
  },
  policy: 'shop/no',
  via: '',
  bytesSent: 1,
  bytesReceived: 2,
  durationMs: 3,
  connectMs: -1,
  retryCount: 0,
  trace: null,
})

t.test('a record reads as it was written', async (t) => {
  t.match(parseRecord('node2', LINE), {
    node: 'node2',
    time: '1970-01-01T00:00:00.000Z',
    direction: 'inbound',
    reason: 'POLICY_DENY',
    transport: 'HBONE',
    sourceAddress: '10.1.0.3:4000',
    sourceWorkload: '',
    sourceIdentity: 'spiffe://cluster.local/ns/shop/sa/batch',
    destinationAddress: '10.2.0.2:8080',
    hboneAddress: '10.2.0.2:8080',
    destinationWorkload: 'cart',
    destinationIdentity: 'spiffe://cluster.local/ns/shop/sa/cart',
    policy: 'shop/no',
    detail: 'denied',
    bytesSent: 1,
    bytesReceived: 2,
    durationMs: 3,
  })
})

t.test('what is no record is passed over', async (t) => {
  for (const line of ['', '{', '{}', '{"reason":"toString"}', '{"reason":7}'])
    t.equal(parseRecord('n', line), null)
})

t.test('a followed file may come later, and a line may come in pieces', async (t) => {
  const path = join(t.testdir({}), 'records')
  let heard: (record: DemoRecord) => void = () => {}
  const next = (): Promise<DemoRecord> =>
    new Promise((resolve) => {
      heard = resolve
    })
  const tail = new RecordTail('node1', path, (record) => heard(record))
  tail.start()
  const first = next()
  appendFileSync(path, `no record\n${LINE}\n${LINE.slice(0, 20)}`)
  t.equal((await first).reason, 'POLICY_DENY')
  const second = next()
  appendFileSync(path, `${LINE.slice(20)}\n`)
  t.equal((await second).policy, 'shop/no')
  await tail.close()
})
