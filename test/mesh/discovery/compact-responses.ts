// SPDX-License-Identifier: Apache-2.0
// Fewer responses that leave a client with the same, whatever the history.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import fc from 'fast-check'
import t from 'tap'
import { ResponseCompactor } from '../../../mesh/discovery/compact-responses.ts'
import { DeltaClient } from '../../../mesh/discovery/delta-client.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../../../mesh/discovery/protocol.ts'
import { DeltaDiscoveryResponseSchema } from '../../../proto/generated/envoy/discovery_pb.js'
import { type Action, AuthorizationSchema } from '../../../proto/generated/istio/authorization_pb.js'
import { AddressSchema } from '../../../proto/generated/istio/workload_pb.js'
import { policy, workload } from '../../support/published.ts'

/** What a resource of the random history is: a good one, one that is refused, one that is nobody's message. */
type Sort = 'good' | 'bad' | 'bad dry run' | 'garbage'
interface Step {
  readonly typeUrl: string
  readonly put: readonly { readonly name: number; readonly sort: Sort; readonly version: number }[]
  readonly removed: readonly number[]
}

function bytesOf(typeUrl: string, name: number, sort: Sort, version: number): Uint8Array {
  if (sort === 'garbage') return Uint8Array.of(0xff, version)
  if (typeUrl === ADDRESS_TYPE) {
    const ip = sort === 'good' ? [10, 0, name, version] : [1, 2, 3]
    const value = workload(`shop/w${name}`, { ip })
    return toBinary(AddressSchema, create(AddressSchema, { type: { case: 'workload', value } }))
  }
  const value = policy(`shop/p${name}`, undefined, sort === 'bad dry run')
  // Unknown actions are refused, and closed.
  if (sort !== 'good') value.action = (90 + version) as Action // as: of a controller that is newer
  return toBinary(AuthorizationSchema, value)
}

function encode({ typeUrl, put, removed }: Step): Buffer {
  const resources = put.map(({ name, sort, version }) => ({
    ...{ name: `r${name}`, version: `${version}` },
    resource: { typeUrl, value: bytesOf(typeUrl, name, sort, version) },
  }))
  const removedResources = removed.map((name) => `r${name}`)
  const response = create(DeltaDiscoveryResponseSchema, { typeUrl, resources, removedResources })
  return Buffer.from(toBinary(DeltaDiscoveryResponseSchema, response))
}

/** What a client has of it, and would say on its next stream. */
function heldAfter(responses: Iterable<Uint8Array>): unknown {
  const client = new DeltaClient({ id: 'x', metadata: {} })
  for (const bytes of responses) client.restore(fromBinary(DeltaDiscoveryResponseSchema, bytes))
  const { workloads, policies } = client.config()
  const sorted = (all: readonly unknown[]): string[] => all.map((each) => JSON.stringify(each)).toSorted()
  const versions = client
    .greetings()
    .map(({ typeUrl, initialResourceVersions }) => [
      typeUrl,
      Object.entries(initialResourceVersions).toSorted(),
    ])
  return { workloads: sorted(workloads), policies: sorted(policies), versions, isComplete: client.isComplete }
}

function compact(responses: Iterable<Uint8Array>): Uint8Array[] {
  const compactor = new ResponseCompactor()
  for (const bytes of responses) compactor.add(Buffer.from(bytes))
  return [...compactor.responses()]
}

const steps = fc.array(
  fc.record({
    typeUrl: fc.constantFrom(ADDRESS_TYPE, AUTHORIZATION_TYPE),
    put: fc.array(
      fc.record({
        name: fc.nat(4),
        sort: fc.constantFrom<Sort>('good', 'good', 'bad', 'bad dry run', 'garbage'),
        version: fc.nat(3),
      }),
      { maxLength: 4 },
    ),
    removed: fc.array(fc.nat(4), { maxLength: 2 }),
  }),
  { maxLength: 12 },
)

t.test('whatever came, a client holds the same afterwards, refusals and denials included', (t) => {
  let denials = 0
  fc.assert(
    fc.property(steps, (history) => {
      const responses = history.map(encode)
      const expected = heldAfter(responses)
      const once = compact(responses)
      t.same(heldAfter(once), expected)
      t.same(heldAfter(compact(once)), expected, 'again')
      if (JSON.stringify(expected).includes('Deny')) denials++
    }),
    { numRuns: 500 },
  )
  t.ok(denials > 50)
  t.end()
})

t.test('a type of which no response was good is not answered afterwards either', (t) => {
  const put = [{ name: 1, sort: 'good' as const, version: 1 }]
  const bad = { name: 2, sort: 'garbage' as const, version: 1 }
  const history = [ADDRESS_TYPE, AUTHORIZATION_TYPE].map((typeUrl) =>
    encode({ typeUrl, put: [...put, bad], removed: [] }),
  )
  t.match(heldAfter(compact(history)), { isComplete: false })
  const good = encode({ typeUrl: ADDRESS_TYPE, put: [], removed: [] })
  const all = [...history, good, encode({ typeUrl: AUTHORIZATION_TYPE, put: [], removed: [] })]
  t.match(heldAfter(compact(all)), { isComplete: true })
  t.end()
})

t.test('what was replaced or removed takes no room, and a response stays short', (t) => {
  const put = (name: number, version: number) => ({ name, sort: 'good' as const, version })
  const history = Array.from({ length: 200 }, (_, index) =>
    encode({ typeUrl: ADDRESS_TYPE, put: [put(index % 5, index % 3)], removed: [index % 2] }),
  )
  const compacted = compact(history)
  t.equal(compacted.length, 1)
  t.ok(Buffer.concat(compacted).length < Buffer.concat(history).length / 20)
  const many = encode({
    ...{ typeUrl: ADDRESS_TYPE, removed: [] },
    put: Array.from({ length: 1001 }, (_, index) => put(index, 0)),
  })
  t.equal(compact([many]).length, 3)
  t.same(heldAfter(compact([many])), heldAfter([many]))
  t.end()
})
