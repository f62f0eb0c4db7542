// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { gatewayLabel, waypointObjectName } from '../../../controller/translate/waypoint-names.ts'

t.test('a name that a Service may have is taken as it is', async (t) => {
  for (const name of ['cart', 'a', 'a-1', 'x'.repeat(63)]) t.equal(waypointObjectName(name), name)
})

t.test('any other gets a hash of the whole name', async (t) => {
  t.match(waypointObjectName('9.to.5'), /^w9-to-5-[0-9a-f]{8}$/)
  t.match(waypointObjectName('a.b'), /^a-b-[0-9a-f]{8}$/)
  t.not(waypointObjectName('a.b'), waypointObjectName('a.b.'))
  const long = 'x'.repeat(64)
  t.match(waypointObjectName(long), /^x{54}-[0-9a-f]{8}$/)
  t.not(waypointObjectName(`${long}a`), waypointObjectName(`${long}b`))
})

t.test('a label holds 63 characters, dots among them', async (t) => {
  t.equal(gatewayLabel('9.to.5'), '9.to.5')
  t.equal(gatewayLabel('x'.repeat(63)), 'x'.repeat(63))
  t.match(gatewayLabel('x'.repeat(64)), /^x{54}-[0-9a-f]{8}$/)
})
