// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  hasPort,
  intersectPorts,
  otherPorts,
  type PortSet,
  portsOf,
  unitePorts,
} from '../../../mesh/net/port-set.ts'

const PORT = fc.integer({ min: 1, max: 6 })
const SET: fc.Arbitrary<PortSet> = fc
  .tuple(fc.boolean(), fc.array(PORT, { maxLength: 5 }))
  .map(([isOther, ports]) => (isOther ? otherPorts(portsOf(ports)) : portsOf(ports)))

t.test('sets are what their ports say, however they are put together', async (t) => {
  fc.assert(
    fc.property(SET, SET, fc.integer({ min: 1, max: 7 }), (left, right, port) => {
      const [inLeft, inRight] = [hasPort(left, port), hasPort(right, port)]
      t.equal(hasPort(unitePorts(left, right), port), inLeft || inRight)
      t.equal(hasPort(intersectPorts(left, right), port), inLeft && inRight)
      t.equal(hasPort(otherPorts(left), port), !inLeft)
    }),
  )
})

t.test('ports are in order, each once: equal sets are equal data', async (t) => {
  t.same(portsOf([9090, 80, 9090]), { isAllBut: false, ports: [80, 9090] })
  t.same(unitePorts(otherPorts(portsOf([80, 81])), portsOf([80])), { isAllBut: true, ports: [81] })
  t.same(intersectPorts(otherPorts(portsOf([2, 10])), otherPorts(portsOf([1]))), {
    isAllBut: true,
    ports: [1, 2, 10],
  })
})
