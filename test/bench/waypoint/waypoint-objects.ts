// SPDX-License-Identifier: Apache-2.0
// Both waypoints stand before the same server, with the same rules; only the last rule matches what is asked.
import t from 'tap'
import { CASES, WAYPOINTS } from '../../../bench/waypoint/cases.ts'
import { meshYaml } from '../../../bench/waypoint/waypoint-objects.ts'

const documents = meshYaml('{"keys":[]}')
  .split('\n---\n')
  .map((text) => JSON.parse(text))
const named = (name: string) => documents.filter(({ metadata }) => metadata.name === name)

t.test('every service has its waypoint and as many rules as its case', (t) => {
  for (const name of WAYPOINTS)
    for (const { key, rules, protocol } of CASES) {
      const found = named(`${name}-${key.toLowerCase()}`)
      const service = found.find(({ kind }) => kind === 'Service')
      t.equal(service.metadata.annotations['sidestep.dev/waypoint'], name)
      t.equal(service.spec.ports[0].name, protocol)
      t.equal(found.find(({ kind }) => kind === 'VirtualService').spec.http.length, rules)
    }
  t.end()
})

t.test('our secured service has a policy and keys, no other one has', (t) => {
  const secured = documents.filter(({ apiVersion }) => apiVersion === 'security.istio.io/v1')
  t.same(secured.map(({ kind, metadata }) => [kind, metadata.name]).sort(), [
    ['AuthorizationPolicy', 'sidestep-secured'],
    ['RequestAuthentication', 'sidestep-secured'],
  ])
  t.end()
})
