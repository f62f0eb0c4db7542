// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { TextPool } from '../../../mesh/model/compact.ts'
import { WORKLOAD_DEFAULTS, type Workload } from '../../../mesh/model/workload.ts'

const text = fc.constantFrom('', 'a', 'b', 'a|b', 'cart', 'cart-1', 'ü')
const workloads = fc.array(
  fc
    .record({
      ...{ uid: text, name: text, namespace: text, serviceAccount: text, hostname: text, node: text },
      ...{ network: text, workloadName: text, canonicalName: text, canonicalRevision: text },
      locality: fc.record({ region: text, zone: text, subzone: text }),
      services: fc.dictionary(text, fc.dictionary(fc.constantFrom('80', '81'), fc.nat(9))),
      authorizationPolicies: fc.array(text),
    })
    .map((some): Workload => ({ ...WORKLOAD_DEFAULTS, ...some })),
  { minLength: 1, maxLength: 20 },
)

t.test('a compact workload is equal to what it was made of', async (t) => {
  fc.assert(
    fc.property(workloads, (given) => {
      const pool = new TextPool()
      const copies = structuredClone(given)
      t.same(
        given.map((each) => pool.workload(each)),
        copies,
      )
    }),
    { numRuns: 200 },
  )
})

t.test('what is equal is one object', async (t) => {
  const pool = new TextPool()
  const services = { 'shop/cart': { 80: 8080 } }
  const [one, two] = [1, 2].map((number) =>
    pool.workload({
      ...structuredClone(WORKLOAD_DEFAULTS),
      uid: `u${number}`,
      services: structuredClone(services),
    }),
  )
  t.equal(one?.services, two?.services)
  t.equal(one?.locality, two?.locality)
  t.equal(one?.authorizationPolicies, two?.authorizationPolicies)
  const other = pool.workload({ ...WORKLOAD_DEFAULTS, services: { 'shop/cart': { 80: 8081 } } })
  t.not(other.services, one?.services)
})

t.test('localities that only look alike stay apart', async (t) => {
  const pool = new TextPool()
  const of = (region: string, zone: string) =>
    pool.workload({ ...WORKLOAD_DEFAULTS, locality: { region, zone, subzone: '' } }).locality
  t.same(of('a|b', ''), { region: 'a|b', zone: '', subzone: '' })
  t.same(of('a', 'b'), { region: 'a', zone: 'b', subzone: '' })
})
