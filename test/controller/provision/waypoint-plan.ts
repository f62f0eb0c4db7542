// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { desiredWaypoints } from '../../../controller/provision/waypoint-plan.ts'
import { parseObjects, viewOf } from '../../support/yaml-objects.ts'

const SHOP = 'apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n---\n'

interface GatewayText {
  readonly metadata?: string
  readonly spec?: string
}

function gateway({ metadata = '', spec = 'gatewayClassName: sidestep-waypoint' }: GatewayText = {}): string {
  return `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: cart, namespace: shop, uid: u1${metadata} }
spec: { ${spec} }
`
}

const plan = (text: string) => desiredWaypoints(viewOf(parseObjects(text)))
const codes = (text: string): string[] => plan(text).findings.map(({ code, path }) => `${code} ${path}`)

t.test('a Gateway of our class is a waypoint with two pods', async (t) => {
  t.same(plan(SHOP + gateway()).waypoints, [
    {
      ...{ namespace: 'shop', gateway: 'cart', uid: 'u1', apiVersion: 'gateway.networking.k8s.io/v1' },
      ...{ replicas: 2, labels: {}, annotations: {} },
    },
  ])
  t.same(codes(SHOP + gateway()), [])
})

t.test(
  'others are none: of another class, being deleted, in a namespace that goes or is not known',
  async (t) => {
    const none = [
      SHOP + gateway({ spec: 'gatewayClassName: istio-waypoint' }),
      SHOP + gateway({ spec: 'gatewayClassName: [sidestep-waypoint]' }),
      SHOP + gateway({ spec: '' }),
      SHOP + gateway({ metadata: ', deletionTimestamp: 2026-01-01T00:00:00Z' }),
      SHOP.replace('name: shop', 'name: shop, deletionTimestamp: 2026-01-01T00:00:00Z') + gateway(),
      gateway(),
    ]
    for (const text of none) t.same(plan(text), { waypoints: [], findings: [] }, text)
  },
)

t.test('a class of that name which names another controller is that controller’s', async (t) => {
  const classOf = (controller: string): string => `---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: sidestep-waypoint }
spec: { controllerName: ${controller} }
`
  const foreign = SHOP + gateway() + classOf('example.com/gateway')
  t.same(plan(foreign).waypoints, [])
  t.same(codes(foreign), ['WAYPOINT_NAME_TAKEN spec.controllerName'])
  t.equal(plan(SHOP + gateway() + classOf('sidestep.dev/waypoint-controller')).waypoints.length, 1)
})

t.test('the number of pods is a whole number from 1 to 100, anything else is told', async (t) => {
  const replicas = (value: string) =>
    plan(SHOP + gateway({ metadata: `, annotations: { sidestep.dev/waypoint-replicas: ${value} }` }))
  for (const [value, expected] of [
    ['"1"', 1],
    ['"03"', 3],
    ['"100"', 100],
  ] as const) {
    const { waypoints, findings } = replicas(value)
    t.equal(waypoints[0]?.replicas, expected, value)
    t.same(findings, [], value)
  }
  for (const value of ['"0"', '"101"', '"-1"', '"1e1"', '"two"', '""', '7', '[2]', `"${'9'.repeat(300)}"`]) {
    const { waypoints, findings } = replicas(value)
    t.equal(waypoints[0]?.replicas, 2, value)
    t.same(
      findings.map(({ code, path }) => [code, path]),
      [['INVALID_VALUE', 'metadata.annotations.sidestep.dev/waypoint-replicas']],
      value,
    )
  }
})

t.test('labels and annotations of spec.infrastructure are taken, ours cannot be set', async (t) => {
  const spec =
    'gatewayClassName: sidestep-waypoint, infrastructure: { labels: { team: blue, istio.io/dataplane-mode: ambient }, annotations: { note: x } }'
  const [found] = plan(SHOP + gateway({ spec })).waypoints
  t.same(found?.labels, { team: 'blue' })
  t.same(found?.annotations, { note: 'x' })
  t.same(codes(SHOP + gateway({ spec })), [
    'CONTRADICTION spec.infrastructure.labels.istio.io/dataplane-mode',
  ])
})

t.test('what is not read is told; garbage costs findings and nothing else', async (t) => {
  const spec = (text: string): string[] =>
    codes(SHOP + gateway({ spec: `gatewayClassName: sidestep-waypoint, ${text}` }))
  t.same(spec('infrastructure: { parametersRef: { kind: ConfigMap, name: x } }'), [
    'FIELD_NOT_SERVED spec.infrastructure.parametersRef',
  ])
  t.same(spec('addresses: [{ value: 10.0.0.1 }]'), ['FIELD_NOT_SERVED spec.addresses'])
  t.same(spec('infrastructure: 7'), ['WRONG_TYPE spec.infrastructure'])
  t.same(spec('infrastructure: { labels: [a], annotations: { a: 1 } }'), [
    'WRONG_TYPE spec.infrastructure.labels',
    'WRONG_TYPE spec.infrastructure.annotations.a',
  ])
})
