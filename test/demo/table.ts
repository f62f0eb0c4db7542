// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { explainRefusal, isPolicyRefusal } from '../../demo/explanation.ts'
import { manifests } from '../../demo/manifests.ts'
import { DENY_POLICY, identityOf, planDemo } from '../../demo/plan.ts'
import type { DemoRecord } from '../../demo/records.ts'
import { explanationText, tableRow, toneOf } from '../../demo/table.ts'
import { meshConfigOf } from '../support/mesh-config.ts'

const CONFIG = meshConfigOf(Object.values(manifests(planDemo('netns'))).join('---\n'))

const RECORD: DemoRecord = {
  node: 'node1',
  time: '2026-01-02T03:04:05.678Z',
  direction: 'outbound',
  reason: 'OK',
  transport: 'HBONE',
  sourceAddress: '10.1.0.2:4000',
  sourceWorkload: 'front',
  sourceIdentity: identityOf('front'),
  destinationAddress: '10.2.0.2:15008',
  hboneAddress: '10.2.0.2:8080',
  destinationWorkload: 'cart',
  destinationIdentity: identityOf('cart'),
  service: '',
  policy: '',
  detail: '',
  fix: '',
  bytesSent: 60,
  bytesReceived: 290,
  durationMs: 1,
}
const REFUSED: DemoRecord = {
  ...RECORD,
  node: 'node2',
  direction: 'inbound',
  reason: 'POLICY_DENY',
  sourceAddress: '10.1.0.3:4000',
  sourceIdentity: identityOf('batch'),
  destinationAddress: '',
  policy: DENY_POLICY,
}

t.test('a row says who talked to whom, how, how much and with what result', async (t) => {
  const cells = (record: DemoRecord): readonly string[] => tableRow(record).split(/ {2,}| (?=out|in|mTLS)/)
  t.strictSame(cells(RECORD), [
    '03:04:05.678 node1',
    'out',
    'shop/front',
    'shop/cart',
    'mTLS',
    '60',
    '290',
    'OK',
  ])
  const inbound: DemoRecord = {
    ...RECORD,
    node: 'node2',
    direction: 'inbound',
    bytesSent: 290,
    bytesReceived: 60,
  }
  t.match(tableRow(inbound), / 60 +290 +OK$/, 'both sides say the same of request and answer')
  t.match(tableRow(REFUSED), / POLICY_DENY by shop\/batch-may-not-call-cart$/)
  const plain: DemoRecord = { ...RECORD, transport: 'TCP', sourceIdentity: '' }
  t.match(tableRow(plain), / 10\.1\.0\.2 \(nobody\) .* plain text /)
  t.strictSame([RECORD, plain, REFUSED].map(toneOf), ['encrypted', 'plain', 'refused'])
})

t.test('a refusal is explained by its policy and a fix', async (t) => {
  const explanation = explainRefusal(CONFIG, REFUSED)
  t.match(explanation, {
    code: 'POLICY_DENY',
    caller: identityOf('batch'),
    destination: '10.2.0.2:8080',
    policy: DENY_POLICY,
    reason: /DENY policy shop\/batch-may-not-call-cart matches .*batch from 10\.1\.0\.3 to port 8080/,
    fix: /leaves out .*batch/,
  })
  t.match(explanationText(explanation), / code +POLICY_DENY\n +policy +shop\/batch-may/)
})

t.test('what the configuration does not explain is told as the record has it', async (t) => {
  const record = { ...REFUSED, detail: 'so it was', fix: 'do this' }
  const asRecorded = { policy: DENY_POLICY, reason: 'so it was', fix: 'do this' }
  const none = { ...CONFIG, policies: [] }
  for (const config of [null, none, { ...CONFIG, workloads: [] }])
    t.match(explainRefusal(config, record), asRecorded)
  t.match(explainRefusal(CONFIG, { ...record, sourceIdentity: identityOf('front') }), asRecorded)
  const byAnother = { ...record, policy: 'shop/another' }
  t.match(explainRefusal(CONFIG, byAnother), { ...asRecorded, policy: 'shop/another' })
})

t.test('only the node that refused by policy is asked why', async (t) => {
  t.strictSame([REFUSED, RECORD, { ...REFUSED, direction: 'outbound' as const }].map(isPolicyRefusal), [
    true,
    false,
    false,
  ])
  t.notOk(isPolicyRefusal({ ...REFUSED, reason: 'INTERNAL' }))
})
