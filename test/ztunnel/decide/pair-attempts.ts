// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { type PairQuestion, pairAttempts } from '../../../ztunnel/decide/pair-attempts.ts'

const QUESTION: PairQuestion = {
  direction: 'outbound',
  sourceIdentity: '',
  sourceIps: ['10.1.0.1', 'fd00::1'],
  targets: ['10.2.0.1:8080', '10.96.0.10:80'],
}
const line = (second: number, fields: Readonly<Record<string, unknown>>): string =>
  JSON.stringify({
    time: `2026-11-01T12:00:0${second}.000Z`,
    ...{ direction: 'outbound', reason: 'HBONE_PORT_BLOCKED', 'src.addr': '10.1.0.1:4000' },
    ...{ 'dst.addr': '10.2.0.1:15008', 'dst.hbone_addr': '10.2.0.1:8080', ...fields },
  })
const at = (second: number): number => Date.parse(`2026-11-01T12:00:0${second}Z`)

t.test('what failed since the last success is told, with the last of it', async (t) => {
  const lines = [
    line(1, {}),
    line(2, { reason: 'OK', connect_ms: 1 }),
    line(3, {}),
    line(4, { reason: 'POLICY_DENY', detail: 'no', policy: 'shop/no' }),
  ]
  t.strictSame(pairAttempts(lines, QUESTION), {
    succeededMs: at(2),
    failed: { timeMs: at(4), code: 'POLICY_DENY', detail: 'no', policy: 'shop/no' },
    failedCount: 2,
  })
  t.strictSame(pairAttempts(lines.slice(0, 2), QUESTION), {
    succeededMs: at(2),
    failed: null,
    failedCount: 0,
  })
})

t.test('one that carried bytes has succeeded, however it ended', async (t) => {
  const { failed, succeededMs } = pairAttempts(
    [line(1, {}), line(2, { reason: 'PEER_RESET', connect_ms: 3 })],
    QUESTION,
  )
  t.equal(failed, null)
  t.equal(succeededMs, at(2))
})

t.test('only this pair counts, in this direction', async (t) => {
  for (const fields of [
    { 'src.addr': '10.1.0.11:4000' },
    { 'dst.hbone_addr': '10.2.0.1:9999' },
    { 'dst.hbone_addr': '', 'dst.addr': '10.2.0.9:8080' },
    { direction: 'inbound' },
    { reason: 'NO_SUCH_REASON' },
    { reason: 7 },
  ])
    t.equal(pairAttempts([line(1, fields)], QUESTION).failed, null, JSON.stringify(fields))
  for (const fields of [
    { 'src.addr': '[fd00::1]:4000' },
    { 'dst.hbone_addr': undefined, 'dst.addr': '10.96.0.10:80' },
  ])
    t.not(pairAttempts([line(1, fields)], QUESTION).failed, null, JSON.stringify(fields))
  const named = { ...QUESTION, sourceIps: [], sourceIdentity: 'spiffe://a' }
  t.not(pairAttempts([line(1, { 'src.identity': 'spiffe://a' })], named).failed, null, 'by what it proved')
})

t.test('no line breaks it', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.string(), fc.json(), fc.constant('{"a":"10.1.0.1')), { maxLength: 5 }),
      (lines) => {
        return pairAttempts([...lines, ...lines.map((each) => `10.1.0.1${each}`)], QUESTION).failed === null
      },
    ),
  )
  t.pass()
})
