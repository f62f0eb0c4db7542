// SPDX-License-Identifier: Apache-2.0
// Golden files: what is made of test/fixtures/provision/<case>.yaml is compared with <case>.json. After a wanted change
// `npm run golden:update` writes them anew; read the difference before it is
// committed.
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { CONTROLLER_OPTIONS } from '../../../controller/config.ts'
import { objectName, objectPath } from '../../../controller/provision/object-path.ts'
import { isReservedLabel, podLabels, selectorLabels } from '../../../controller/provision/waypoint-labels.ts'
import { type WaypointSettings, waypointObjects } from '../../../controller/provision/waypoint-objects.ts'
import { desiredWaypoints, type WaypointPlan } from '../../../controller/provision/waypoint-plan.ts'
import { requestedWaypoint } from '../../../controller/translate/waypoint-request.ts'
import { parseObjects, toObject, viewOf } from '../../support/yaml-objects.ts'

const directory = join(import.meta.dirname, '..', '..', 'fixtures', 'provision')
const SETTINGS: WaypointSettings = {
  image: 'registry.example/waypoint:1',
  imagePullPolicy: 'IfNotPresent',
  controllerAddresses: 'sidestep-controller.istio-system.svc:15012',
  controllerNamespace: 'istio-system',
  trustDomain: 'cluster.local',
  clusterId: 'Kubernetes',
  options: {},
}

t.test('every case of the golden files comes to the objects that stand there', async (t) => {
  const cases = globSync('*.yaml', { cwd: directory })
  t.ok(cases.length > 0)
  for (const file of cases) {
    const view = viewOf(parseObjects(readFileSync(join(directory, file), 'utf8')))
    const { waypoints, findings } = desiredWaypoints(view)
    const rendered = {
      objects: Object.fromEntries(
        waypoints
          .flatMap((plan) => waypointObjects(plan, SETTINGS))
          .map((object) => [objectPath(object), object]),
      ),
      findings: findings.map(
        ({ code, object, path, message }) => `${code} ${object.name} ${path}: ${message}`,
      ),
    }
    const text = `${JSON.stringify(rendered, null, 1)}\n`
    const golden = join(directory, file.replace(/yaml$/, 'json'))
    if (process.argv.includes('--update')) writeFileSync(golden, text)
    t.equal(readFileSync(golden, 'utf8'), text, file)
  }
})

t.test('pods are told the options that somebody has set', async (t) => {
  const [file = ''] = globSync('*.yaml', { cwd: directory })
  const [first] = desiredWaypoints(
    viewOf(parseObjects(readFileSync(join(directory, file), 'utf8'))),
  ).waypoints
  if (first === undefined) throw new Error('no waypoint')
  const told = (options: WaypointSettings['options']): string =>
    JSON.stringify(waypointObjects(first, { ...SETTINGS, options }))
  t.equal(told({ SIDESTEP_OTLP_ENDPOINT: '' }), told({}))
  t.match(
    told({ SIDESTEP_OTLP_ENDPOINT: 'http://collector:4318' }),
    '{"name":"SIDESTEP_OTLP_ENDPOINT","value":"http://collector:4318"}',
  )
})

const LABEL_VALUE = /^(?:[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?)?$/
const RFC_1035 = /^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/
const RESERVED = Object.keys(podLabels('cart'))
const labelKey = fc.oneof(fc.constantFrom('team', 'app.kubernetes.io/name'), fc.constantFrom(...RESERVED))
const gatewayName = fc.stringMatching(/^[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?$/)
const plan: fc.Arbitrary<WaypointPlan> = fc.record({
  namespace: fc.stringMatching(/^[a-z][a-z0-9-]{0,60}[a-z0-9]$/),
  gateway: gatewayName,
  uid: fc.uuid(),
  apiVersion: fc.constantFrom('gateway.networking.k8s.io/v1', 'gateway.networking.k8s.io/v1beta1'),
  replicas: fc.integer({ min: 1, max: 100 }),
  labels: fc.dictionary(labelKey, fc.constantFrom('blue', 'ambient', '')),
  annotations: fc.dictionary(fc.constantFrom('a', 'b'), fc.string()),
})

interface AnyObject {
  readonly metadata: { readonly labels?: Readonly<Record<string, string>> }
  readonly spec?: { readonly template?: AnyObject; readonly selector?: unknown }
}

t.test(
  'whatever a Gateway is called: names that are allowed, its owner and our labels on everything',
  async () => {
    fc.assert(
      fc.property(plan, (each) => {
        const objects = waypointObjects(each, SETTINGS)
        const names = new Set(objects.map(({ metadata }) => metadata.name))
        if (names.size !== 1) throw new Error(`different names ${[...names]}`)
        for (const object of objects) {
          const { name, namespace, labels = {}, ownerReferences } = object.metadata
          if (!RFC_1035.test(name)) throw new Error(`name ${name}`)
          if (namespace !== each.namespace) throw new Error(`namespace ${namespace}`)
          if (!Object.values(labels).every((value) => LABEL_VALUE.test(value)))
            throw new Error(`labels ${JSON.stringify(labels)}`)
          const [owner, ...others] = ownerReferences ?? []
          if (owner?.uid !== each.uid || owner.name !== each.gateway || others.length > 0)
            throw new Error(`owner of ${objectName(object)}`)
          if (labels['sidestep.dev/managed-by'] !== 'sidestep-controller') throw new Error('whose is it?')
          const { template } = (object as AnyObject).spec ?? {} // as: fields of some kinds
          const pods = template?.metadata.labels
          if (pods === undefined) continue
          for (const [key, value] of Object.entries(podLabels(each.gateway)))
            if (pods[key] !== value) throw new Error(`${key} of a pod is ${pods[key]}`)
          for (const [key, value] of Object.entries(selectorLabels(each.gateway)))
            if (pods[key] !== value) throw new Error(`the pods are not selected`)
        }
      }),
      { numRuns: 300 },
    )
  },
)

t.test('two Gateways of a namespace have objects of their own', async () => {
  const nasty = fc
    .tuple(fc.stringMatching(/^[a-z]{60,64}$/), fc.stringMatching(/^[a-z.]{0,3}[a-z]$/))
    .map(([head, tail]) => head + tail)
  fc.assert(
    fc.property(plan, fc.oneof(gatewayName, nasty), fc.oneof(gatewayName, nasty), (each, left, right) => {
      fc.pre(left !== right)
      const [a] = waypointObjects({ ...each, gateway: left }, SETTINGS)
      const [b] = waypointObjects({ ...each, gateway: right }, SETTINGS)
      if (a?.metadata.name === b?.metadata.name) throw new Error(`${left} and ${right}`)
      if (Object.values(selectorLabels(left))[0] === Object.values(selectorLabels(right))[0])
        throw new Error('their pods are not told apart')
    }),
  )
})

t.test('a waypoint is never behind itself, whatever its namespace asks for', async (t) => {
  const [cart] = desiredWaypoints(
    viewOf(parseObjects(readFileSync(join(directory, 'waypoints.yaml'), 'utf8'))),
  ).waypoints.filter(({ gateway }) => gateway === 'cart')
  if (cart === undefined) throw new Error('no plan')
  const namespace = toObject({
    ...{ apiVersion: 'v1', kind: 'Namespace' },
    metadata: { name: 'shop', annotations: { 'sidestep.dev/waypoint': 'cart' } },
  })
  const service = waypointObjects(cart, SETTINGS).find(({ kind }) => kind === 'Service')
  if (service === undefined) throw new Error('no Service')
  t.equal(requestedWaypoint(toObject(service), namespace, null), null)
})

t.test('our own labels cannot be set by a Gateway', async (t) => {
  for (const key of RESERVED) t.ok(isReservedLabel(key), key)
  t.notOk(isReservedLabel('team'))
})

t.test('the image has the version of the package', async (t) => {
  const { version } = JSON.parse(
    readFileSync(join(import.meta.dirname, '..', '..', '..', 'package.json'), 'utf8'),
  )
  t.equal(CONTROLLER_OPTIONS.waypointImage.default, `docker.io/sidestep/sidestep:${version}`)
})
