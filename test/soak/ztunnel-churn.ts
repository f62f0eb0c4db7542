// SPDX-License-Identifier: Apache-2.0
// Half an hour of half-closed, reset and normal connections through two nodes: memory does not grow, descriptors are back.
import t from 'tap'
import { labDirectory } from '../support/lab-directory.ts'
import { churnMesh } from '../support/mesh-churn.ts'

const DURATION_MS = 1_800_000
/** Both data processes together: what the issue allows one. */
const MAX_SLOPE_KB = 1024

t.setTimeout(2_400_000)

t.test('half an hour of connections leaves nothing behind', { timeout: 2_390_000 }, async (t) => {
  const { connectionCount, slopeKbPer10Min, leftDescriptors } = await churnMesh(labDirectory(t), DURATION_MS)
  t.comment(`${connectionCount} connections, ${slopeKbPer10Min.toFixed(0)} KB per 10 minutes`)
  t.ok(slopeKbPer10Min <= MAX_SLOPE_KB, `${slopeKbPer10Min.toFixed(0)} KB per 10 minutes`)
  t.equal(leftDescriptors, 0)
})
