// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  NEEDS_L7_PREFIX,
  portsSuffix,
  waypointOnlyName,
  wireName,
} from '../../../controller/translate/policy-names.ts'
import { stableHash } from '../../../controller/translate/stable-hash.ts'
import { isDiverting } from '../../../mesh/model/reserved-policy.ts'

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

t.test('sets of waypoints have names of their own, of bounded length', async (t) => {
  const many = Array.from({ length: 1000 }, (_, index) => `shop/${'x'.repeat(200)}${index}`)
  const sets = [
    ['a/b'],
    ['a/b', 'c/d'],
    ['a/b', 'c/e'],
    ['a/b', 'c/d', 'c/e'],
    many,
    many.slice(1),
    ['a/b_c'],
    ['a_b/c'],
  ]
  const names = [true, false].flatMap((isDivertible) =>
    sets.map((set) => waypointOnlyName(set, isDivertible)),
  )
  t.equal(new Set(names).size, 2 * sets.length)
  t.equal(names[0], 'sidestep_waypoint_only_a_b')
  for (const [index, name] of names.entries()) {
    t.ok(name.length < 600, name)
    t.equal(isDiverting(`shop/${name}`), index < sets.length, 'who is told of it can tell which is which')
    t.not(wireName(name), name, 'no object can have it')
  }
  for (const key of ['shop/p', `${names[0]}/p`, 'shop/sidestep_needs_l7_p', ''])
    t.notOk(isDiverting(key), key)
})

t.test('sets of ports have endings of their own, of bounded length', async (t) => {
  const many = Array.from({ length: 10_000 }, (_, index) => index + 1)
  const sets = [[80], [80, 81], [8, 81], many, many.slice(1), many.slice(0, 9)]
  const endings = sets.map(portsSuffix)
  t.equal(new Set(endings).size, sets.length)
  t.equal(endings[1], '_80_81')
  for (const ending of endings) t.ok(ending.length < 60, ending)
})
