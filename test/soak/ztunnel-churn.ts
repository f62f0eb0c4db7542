// SPDX-License-Identifier: Apache-2.0
// Half an hour of connections through two nodes that end in every way: memory does not grow, descriptors are back.
import t from 'tap'
import { labDirectory } from '../support/lab-directory.ts'
import { churnMesh } from '../support/mesh-churn.ts'

const DURATION_MS = 1_800_000
/** Both data processes together, and both supervisors: what is allowed to one. */
const MAX_SLOPE_KB = 1024

t.setTimeout(2_400_000)

t.test('half an hour of connections leaves nothing behind', { timeout: 2_390_000 }, async (t) => {
  const churn = await churnMesh(labDirectory(t), DURATION_MS)
  t.comment(JSON.stringify(churn))
  t.ok(churn.dataKbPer10Min <= MAX_SLOPE_KB, `${churn.dataKbPer10Min.toFixed(0)} KB per 10 minutes`)
  t.ok(
    churn.supervisorsKbPer10Min <= MAX_SLOPE_KB,
    `supervisors ${churn.supervisorsKbPer10Min.toFixed(0)} KB per 10 minutes`,
  )
  t.same(churn.descriptorChanges, [])
})
