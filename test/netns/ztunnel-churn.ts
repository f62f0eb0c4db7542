// SPDX-License-Identifier: Apache-2.0
// The short form of test/soak/ztunnel-churn.ts: a minute and a half, in which a leak of descriptors shows, and one of memory
// only when it is large.
import t from 'tap'
import { labDirectory } from '../support/lab-directory.ts'
import { churnMesh, slopeKbPer10Min } from '../support/mesh-churn.ts'

const DURATION_MS = 90_000

t.setTimeout(200_000)

t.test('half-closed, reset and normal connections leave nothing behind', { timeout: 190_000 }, async (t) => {
  const {
    connectionCount,
    slopeKbPer10Min: slope,
    leftDescriptors,
    records,
  } = await churnMesh(labDirectory(t), DURATION_MS)
  t.comment(
    `${connectionCount} connections, ${slope.toFixed(0)} KB per 10 minutes, ${JSON.stringify(records)}`,
  )
  t.ok(connectionCount > 300)
  t.equal(leftDescriptors, 0)
  for (const reason of ['OK', 'HALF_CLOSE_TIMEOUT']) t.ok((records[reason] ?? 0) > 0, `${reason} was seen`)
})

t.test('the slope is that of the line through what was read', async (t) => {
  const at = (minute: number, kb: number) => ({ atMs: minute * 60_000, kb })
  t.equal(Math.round(slopeKbPer10Min([at(0, 100), at(5, 600), at(10, 1100)])), 1000)
  t.equal(slopeKbPer10Min([at(0, 100), at(1, 100)]), 0)
  t.equal(slopeKbPer10Min([at(0, 100)]), 0)
})
