// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { NEEDS_L7_PREFIX, wireName } from '../../../controller/translate/policy-names.ts'
import { stableHash } from '../../../controller/translate/stable-hash.ts'

t.test('no name of an object can be that of a policy the mesh makes', async (t) => {
  for (const name of ['cart', 'a.b-c', '0', 'x'.repeat(253)]) t.equal(wireName(name), name)
  const odd = [
    `${NEEDS_L7_PREFIX}cart`,
    'istio_converted_static_strict',
    'a/b',
    '',
    'Cart',
    '-a',
    'x'.repeat(254),
  ]
  for (const name of odd) t.match(wireName(name), /^sidestep_renamed_[0-9a-f]+_\d+$/, name)
  t.equal(new Set(odd.map(wireName)).size, odd.length)
})

t.test('a hash is a promise to other processes and releases', async (t) => {
  t.equal(stableHash(''), 2_872_998_923)
  t.not(stableHash('a'), stableHash('b'))
})
