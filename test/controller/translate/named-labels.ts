// SPDX-License-Identifier: Apache-2.0
import { create, fromBinary } from '@bufbuild/protobuf'
import t from 'tap'
import { labelsExtension, MAX_NAMED_LABELS, NamedLabels } from '../../../controller/translate/named-labels.ts'
import { ServiceRoutesSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import { TrafficPolicySchema } from '../../../proto/generated/sidestep/v1/traffic_policy_pb.js'
import { WorkloadLabelsSchema } from '../../../proto/generated/sidestep/v1/workloads_pb.js'

const routes = create(ServiceRoutesSchema, {
  ports: [
    {
      lists: [
        {
          routes: {
            case: 'http',
            value: { entries: [{ match: { sourceLabels: { tier: 'gold' } } }, {}] },
          },
        },
        { routes: { case: 'tcp', value: { rules: [{ sourceLabels: { app: 'x' } }] } } },
        {},
      ],
    },
  ],
})
const policy = (...names: readonly string[]) =>
  create(TrafficPolicySchema, {
    subsets: names.map((name) => ({ name: 's', labels: { [name]: 'v' } })),
  })

t.test('what routes and subsets name, in order, once', async (t) => {
  const named = new NamedLabels()
  const found = named.find([routes], [policy('version', 'tier')])
  t.same(found, ['app', 'tier', 'version'])
  t.equal(named.find([routes], [policy('tier', 'version')]), found, 'the same array while it is equal')
  t.same(named.find([], [policy('version')]), ['version'])
  t.same(named.find([], []), [])
})

t.test('no more than the limit, always the same ones', async (t) => {
  const names = Array.from(
    { length: MAX_NAMED_LABELS + 1 },
    (_, index) => `l${String(index).padStart(4, '0')}`,
  )
  const named = new NamedLabels()
  const found = named.find([], [policy(...names.toReversed())])
  t.same(found, names.slice(0, MAX_NAMED_LABELS))
  t.same([...named.untold], names.slice(MAX_NAMED_LABELS), 'and says which are left out')
  named.find([], [policy('tier')])
  t.equal(named.untold.size, 0)
})

t.test('a workload tells those it has, and no others', async (t) => {
  const said = (labels: Record<string, string>): unknown => {
    const [extension] = labelsExtension(labels, ['app', 'tier', 'constructor'])
    if (extension === undefined) return null
    t.equal(extension.name, 'sidestep.dev/labels')
    return fromBinary(WorkloadLabelsSchema, extension.config?.value ?? new Uint8Array()).labels
  }
  t.same(said({ app: 'cart', tier: '', secret: 'x' }), { app: 'cart', tier: '' })
  t.equal(said({ secret: 'x' }), null)
  t.equal(said({}), null)
})
