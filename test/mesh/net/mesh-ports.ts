// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isMeshPort } from '../../../mesh/net/mesh-ports.ts'

t.test('only the four proxy ports belong to the mesh', async (t) => {
  t.same(
    [15000, 15001, 15006, 15008, 15020, 15021, 15053, 15080].filter(isMeshPort),
    [15001, 15006, 15008, 15080],
  )
})
