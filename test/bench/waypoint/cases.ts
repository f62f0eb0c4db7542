// SPDX-License-Identifier: Apache-2.0
// Only the last rule of a case matches what is asked, and each case has an address of its own.
import t from 'tap'
import { CASES, pathOf, prefixOf, serviceIp, WAYPOINTS } from '../../../bench/waypoint/cases.ts'

t.test('a request is for the last rule alone', (t) => {
  for (const of of CASES) {
    const matching = Array.from({ length: of.rules }, (_, rule) => rule).filter((rule) =>
      pathOf(of, 'small').startsWith(prefixOf(rule)),
    )
    t.same(matching, [of.rules - 1])
  }
  t.end()
})

t.test('addresses and keys are different', (t) => {
  const ips = WAYPOINTS.flatMap((name) => CASES.map((of) => serviceIp(name, of)))
  t.equal(new Set(ips).size, ips.length)
  t.equal(new Set(CASES.map(({ key }) => key)).size, CASES.length)
  t.end()
})
