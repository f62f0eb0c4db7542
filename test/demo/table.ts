// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { explainRefusal } from '../../demo/explanation.ts'
import { DENY_POLICY, identityOf, meshFile, planDemo } from '../../demo/plan.ts'
import type { DemoRecord } from '../../demo/records.ts'
import { explanationText, tableRow, toneOf } from '../../demo/table.ts'

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
  const explanation = explainRefusal(meshFile(planDemo('netns')), REFUSED)
  t.match(explanation, {
    code: 'POLICY_DENY',
    caller: identityOf('batch'),
    destination: '10.2.0.2:8080',
    policy: DENY_POLICY,
    reason: /DENY policy shop\/batch-may-not-call-cart matches .*batch from 10\.1\.0\.3 to port 8080/,
    fix: /leaves out .*batch/,
  })
  if (explanation !== null)
    t.match(explanationText(explanation), / code +POLICY_DENY\n +policy +shop\/batch-may/)
})

t.test('what no policy of the configuration refused is not explained', async (t) => {
  const yaml = meshFile(planDemo('netns'))
  t.equal(explainRefusal(yaml, RECORD), null)
  t.equal(explainRefusal(yaml, { ...REFUSED, direction: 'outbound' }), null, 'the other side knows better')
  t.equal(explainRefusal(yaml, { ...REFUSED, sourceIdentity: identityOf('front') }), null)
  t.equal(explainRefusal('policies: 7', REFUSED), null)
})
