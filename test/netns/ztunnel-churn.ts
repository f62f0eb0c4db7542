// SPDX-License-Identifier: Apache-2.0
// The short form of test/soak/ztunnel-churn.ts: two minutes, in which a leak of descriptors shows at once, and one of memory when
// it is large: what is planted is found by both checks.
import t from 'tap'
import { labDirectory } from '../support/lab-directory.ts'
import { churnMesh, slopeKbPer10Min } from '../support/mesh-churn.ts'

const DURATION_MS = 120_000
const LEAKING_MS = 20_000
/**
 * Far more than half an hour allows: heaps have not their last size in two minutes. Of some 50,000 connections in ten minutes
 * it is 2 KB each, a tenth of what is planted.
 */
const MAX_SLOPE_KB = 100_000

t.setTimeout(300_000)

t.test('connections that end in every way leave nothing behind', { timeout: 240_000 }, async (t) => {
  const churn = await churnMesh(labDirectory(t), DURATION_MS)
  t.comment(JSON.stringify(churn))
  t.ok(churn.connectionCount > 300)
  t.same(churn.descriptorChanges, [])
  t.ok(churn.dataKbPer10Min <= MAX_SLOPE_KB, `${churn.dataKbPer10Min.toFixed(0)} KB per 10 minutes`)
  t.ok(
    churn.supervisorsKbPer10Min <= MAX_SLOPE_KB,
    `${churn.supervisorsKbPer10Min.toFixed(0)} KB per 10 minutes`,
  )
  t.ok(
    churn.withLeakKbPer10Min > MAX_SLOPE_KB,
    `a leak would be found: ${churn.withLeakKbPer10Min.toFixed(0)} KB per 10 minutes`,
  )
  for (const seen of ['n1 OK', 'n2 OK', 'n1 HALF_CLOSE_TIMEOUT', 'n2 PEER_RESET', 'n1 PEER_RESET'])
    t.ok((churn.records[seen] ?? 0) > 0, `${seen} was seen`)
})

t.test('connections that nobody closes are found', { timeout: 120_000 }, async (t) => {
  const churn = await churnMesh(labDirectory(t), LEAKING_MS, true)
  t.comment(JSON.stringify(churn))
  t.ok(
    churn.descriptorChanges.some((each) => / tcp6? socket: /.test(each)),
    'sockets that are not back',
  )
})

t.test('the slope is that of the line through what was read', async (t) => {
  const at = (minute: number, kb: number) => ({ atMs: minute * 60_000, kb })
  t.equal(Math.round(slopeKbPer10Min([at(0, 100), at(5, 600), at(10, 1100)])), 1000)
  t.equal(slopeKbPer10Min([at(0, 100), at(1, 100)]), 0)
  t.equal(slopeKbPer10Min([at(0, 100)]), 0)
})
