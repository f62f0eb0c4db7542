// SPDX-License-Identifier: Apache-2.0
// What the controller's own functions name, read back.
import fc from 'fast-check'
import t from 'tap'
import { portsSuffix, waypointOnlyName, wireName } from '../../../controller/translate/policy-names.ts'
import { denialCode, isDiverting, NEEDS_L7_PREFIX, writtenKey } from '../../../mesh/model/reserved-policy.ts'

const NAME = fc.stringMatching(/^[a-z0-9][a-z0-9.-]{0,40}$/)

t.test('a policy that the controller made of a user’s is told by the user’s name', async (t) => {
  fc.assert(
    fc.property(NAME, NAME, fc.array(fc.nat(65_535), { maxLength: 12 }), (namespace, name, ports) => {
      const made = `${NEEDS_L7_PREFIX}${wireName(name)}${ports.length === 0 ? '' : portsSuffix(ports)}`
      t.equal(denialCode(made), 'POLICY_NEEDS_L7')
      t.equal(writtenKey({ namespace, name: made }), `${namespace}/${name}`)
    }),
  )
})

t.test('a guard is told by the waypoint that is gone round', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(NAME, NAME), { minLength: 1, maxLength: 3 }),
      fc.boolean(),
      (waypoints, isDivertible) => {
        const keys = waypoints.map((parts) => parts.join('/'))
        const name = waypointOnlyName(keys, isDivertible)
        t.equal(denialCode(name), 'WAYPOINT_BYPASS')
        t.equal(writtenKey({ namespace: 'shop', name }), keys[0])
        t.equal(isDiverting(`shop/${name}`), isDivertible)
      },
    ),
  )
})

t.test('what nobody can tell is told as it is', async (t) => {
  const odd = [
    `${NEEDS_L7_PREFIX}${wireName('Not of Kubernetes')}`,
    NEEDS_L7_PREFIX,
    waypointOnlyName(['shop/Odd'], true),
    waypointOnlyName(['shop'], true),
    waypointOnlyName([], true),
    'by-header',
    `x${NEEDS_L7_PREFIX}by-header`,
    '',
  ]
  for (const name of odd) t.equal(writtenKey({ namespace: 'shop', name }), `shop/${name}`)
  for (const name of odd.slice(5)) t.equal(denialCode(name), 'POLICY_DENY')
})
