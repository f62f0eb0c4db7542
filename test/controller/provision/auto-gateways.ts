// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { autoGateway, autoGateways } from '../../../controller/provision/auto-gateways.ts'
import type { ConfigObject } from '../../../controller/watch/config-object.ts'
import { translateYaml } from '../../support/translated.ts'
import { parseObjects, toObject, viewOf } from '../../support/yaml-objects.ts'

const OURS = 'sidestep.dev/managed-by: sidestep-controller'
const AUTO = 'annotations: { sidestep.dev/waypoint: auto }'
const namespace = (more = '', name = 'shop'): string =>
  `apiVersion: v1\nkind: Namespace\nmetadata: { name: ${name}, ${more} }\n---\n`
const object = (kind: string, more: string, apiVersion = 'v1', rest = ''): string =>
  `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: { name: cart, namespace: shop, ${more} }\n${rest}\n---\n`
const gateway = (labels: string, gatewayClass = 'sidestep-waypoint', more = ''): string =>
  `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: sidestep-waypoint, namespace: shop, uid: u1, labels: { ${labels} } ${more} }
spec: { gatewayClassName: ${gatewayClass} }
---
`
const look = (text: string) => autoGateways(viewOf(parseObjects(text)))

t.test('whoever may ask for a waypoint gets the Gateway of its namespace', async (t) => {
  const asking = [
    namespace(AUTO),
    namespace() + object('Service', AUTO),
    namespace() + object('Pod', AUTO),
    namespace() + object('ServiceEntry', AUTO, 'networking.istio.io/v1'),
    namespace() + object('WorkloadEntry', AUTO, 'networking.istio.io/v1'),
    namespace(AUTO) + gateway(OURS),
  ]
  for (const text of asking) t.same(look(text), { wanted: ['shop'], unused: [], findings: [] }, text)
})

t.test('nobody else does', async (t) => {
  const silent = [
    namespace(),
    namespace('annotations: { sidestep.dev/waypoint: none }'),
    namespace('annotations: { sidestep.dev/waypoint: cart }'),
    namespace('labels: { sidestep.dev/waypoint: auto }'),
    namespace('annotations: { sidestep.dev/waypoint: [auto] }'),
    namespace('annotations: { sidestep.dev/waypoint: auto }, deletionTimestamp: 2026-01-01T00:00:00Z'),
    object('Service', AUTO),
    namespace() + object('ConfigMap', AUTO),
    namespace() + object('Pod', AUTO, 'v1', 'status: { phase: Succeeded }'),
    namespace() +
      object('Service', `${AUTO}, labels: { gateway.networking.k8s.io/gateway-name: sidestep-waypoint }`),
  ]
  for (const text of silent) t.same(look(text), { wanted: [], unused: [], findings: [] }, text)
})

t.test('a Gateway of that name which we did not make stays as it is', async (t) => {
  t.same(look(namespace(AUTO) + gateway('')), { wanted: [], unused: [], findings: [] }, 'it serves as well')
  const foreign = look(namespace(AUTO) + gateway('', 'istio-waypoint'))
  t.same(foreign.wanted, [])
  t.match(foreign.findings, [{ code: 'WAYPOINT_NAME_TAKEN', object: { kind: 'Gateway' } }])
  t.same(look(namespace() + gateway('')).unused, [], 'nor is it deleted')
})

t.test('one that we made and nobody names may go, one that anybody names stays', async (t) => {
  const unused = [{ namespace: 'shop', uid: 'u1' }]
  t.same(look(namespace() + gateway(OURS)).unused, unused)
  t.same(look(gateway(OURS)).unused, unused)
  t.same(look(namespace() + gateway(OURS, 'other')).unused, unused, 'also when its class was changed')
  const named = [
    namespace('annotations: { sidestep.dev/waypoint: sidestep-waypoint }'),
    namespace() + object('Service', 'labels: { istio.io/use-waypoint: sidestep-waypoint }'),
    `${namespace()}${namespace('labels: { istio.io/use-waypoint: sidestep-waypoint, istio.io/use-waypoint-namespace: shop }', 'far')}`,
    namespace() +
      object(
        'Service',
        'labels: { istio.io/use-waypoint: other, istio.io/use-waypoint-canary: sidestep-waypoint }',
      ),
  ]
  for (const text of named) t.same(look(text + gateway(OURS)).unused, [], text)
  const goes = gateway(OURS, 'sidestep-waypoint', ', deletionTimestamp: 2026-01-01T00:00:00Z')
  t.same(look(namespace() + goes).unused, [], 'it goes already')
})

t.test('nothing is made while the class is another controller’s', async (t) => {
  const foreign = `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: sidestep-waypoint }
spec: { controllerName: example.com/other }
---
`
  t.same(look(namespace(AUTO) + foreign).wanted, [])
})

t.test('what is made serves whoever says auto: services, and pods by their address', async (t) => {
  const made = {
    ...(JSON.parse(JSON.stringify(autoGateway('shop'))) as Record<string, unknown>), // as: an object of ours
    status: { addresses: [{ type: 'IPAddress', value: '10.0.0.9' }] },
  }
  const text = `${namespace(AUTO)}${object('Pod', '', 'v1', 'spec: { nodeName: n }\nstatus: { phase: Running, podIP: 10.1.0.1, podIPs: [{ ip: 10.1.0.1 }] }')}${object('Service', '', 'v1', 'spec: { clusterIP: 10.2.0.1, clusterIPs: [10.2.0.1], ports: [{ port: 80 }] }')}${JSON.stringify(made)}`
  const { workloads, services, findings } = translateYaml(text)
  t.same(findings, [])
  for (const each of [...workloads.values(), ...services.values()]) t.ok(each.waypoint, each.name)
})

const kinds = fc.constantFrom('Service', 'Pod', 'Namespace')
const world = fc.array(
  fc.record({
    kind: kinds,
    home: fc.constantFrom('a', 'b'),
    name: fc.constantFrom('x', 'y'),
    annotation: fc.constantFrom(undefined, 'auto', 'none', 'sidestep-waypoint', 'other', 7),
  }),
)
const gateways = fc.array(
  fc.record({
    home: fc.constantFrom('a', 'b', 'c'),
    name: fc.constantFrom('sidestep-waypoint', 'other'),
    owner: fc.constantFrom(undefined, 'sidestep-controller', 'somebody'),
    gatewayClass: fc.constantFrom('sidestep-waypoint', 'other'),
  }),
)

t.test('in any mesh only what we made is ever given up, and never while somebody asks', async () => {
  fc.assert(
    fc.property(world, gateways, (askers, found) => {
      const objects: ConfigObject[] = ['a', 'b', 'c'].map((name) =>
        toObject({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }),
      )
      for (const { kind, home, name, annotation } of askers) {
        const metadata = kind === 'Namespace' ? { name: home } : { name, namespace: home }
        const annotations = annotation === undefined ? {} : { 'sidestep.dev/waypoint': annotation }
        objects.push(toObject({ apiVersion: 'v1', kind, metadata: { ...metadata, annotations } }))
      }
      for (const { home, name, owner, gatewayClass } of found) {
        const labels = owner === undefined ? {} : { 'sidestep.dev/managed-by': owner }
        const metadata = { name, namespace: home, uid: `${home} ${name} ${owner}`, labels }
        objects.push(
          toObject({
            ...{ apiVersion: 'gateway.networking.k8s.io/v1', kind: 'Gateway', metadata },
            spec: { gatewayClassName: gatewayClass },
          }),
        )
      }
      const view = viewOf(objects)
      const { wanted, unused } = autoGateways(view)
      for (const { namespace: home, uid } of unused) {
        if (uid !== `${home} sidestep-waypoint sidestep-controller`) throw new Error(`not ours: ${uid}`)
        if (wanted.includes(home)) throw new Error(`made and given up: ${home}`)
      }
      const asks = (home: string): boolean =>
        [view.get('Namespace', '', home), ...view.list('Service'), ...view.list('Pod')].some(
          (each) =>
            each?.metadata.annotations['sidestep.dev/waypoint'] === 'auto' &&
            (each.metadata.namespace || each.metadata.name) === home,
        )
      for (const home of ['a', 'b', 'c']) {
        const there = view.get('Gateway.gateway.networking.k8s.io', home, 'sidestep-waypoint')
        const owner = there?.metadata.labels['sidestep.dev/managed-by']
        const isOursToMake = there === undefined || owner === 'sidestep-controller'
        if (wanted.includes(home) !== (asks(home) && isOursToMake)) throw new Error(`wanted: ${home}`)
        if (asks(home) && unused.some((each) => each.namespace === home)) throw new Error(`cut: ${home}`)
      }
    }),
    { numRuns: 500 },
  )
})
