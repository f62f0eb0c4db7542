// SPDX-License-Identifier: Apache-2.0
// Ten thousand objects that are garbage or contradict each other: answered within seconds and a bounded heap, every one
// with a finding or counted, and the good ones among them unharmed.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { MAX_FINDINGS } from '../../controller/translate/bounded-findings.ts'
import { Translator } from '../../controller/translate/translate.ts'
import type { Translation } from '../../controller/translate/translation.ts'
import type { ConfigObject } from '../../controller/watch/config-object.ts'
import { refKey, refOf } from '../../controller/watch/config-object.ts'
import { SETTINGS } from '../support/translated.ts'
import { toObject, viewOf } from '../support/yaml-objects.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void // as: what the flag makes of it

/** Far above what a busy machine needs, far below what anything quadratic would take. */
const MAX_MS = 10_000
const MAX_HEAP_BYTES = 200 * 1024 * 1024

const GATEWAY_GROUP = 'gateway.networking.k8s.io'

/** Objects of which each has something that must be told, by what is wrong with them. */
const CROWDS: Readonly<Record<string, (index: number) => object>> = {
  'one host, many owners': (index) => ({
    apiVersion: 'networking.istio.io/v1',
    kind: 'ServiceEntry',
    metadata: { name: `host-${index}`, creationTimestamp: index === 0 ? '2020-01-01' : '2021-01-01' },
    spec: index === 0 ? { hosts: [7, 'db.example'] } : { hosts: ['db.example'], resolution: 'STATIC' },
  }),
  'one namespace, many modes': (index) => ({
    apiVersion: 'security.istio.io/v1',
    kind: 'PeerAuthentication',
    metadata: { name: `mode-${index}`, creationTimestamp: index === 0 ? '2020-01-01' : '2021-01-01' },
    spec: { mtls: { mode: index === 0 ? 'DISABLE' : 'STRICT' } },
  }),
  'policies for classes, gateways and services that nobody has': (index) => ({
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: `target-${index}`, namespace: index % 3 === 0 ? 'istio-system' : 'shop' },
    spec: {
      targetRefs: [
        { group: GATEWAY_GROUP, kind: 'GatewayClass', name: `class-${index}` },
        { group: GATEWAY_GROUP, kind: 'Gateway', name: `gateway-${index}` },
        { group: '', kind: 'Service', name: `service-${index}` },
      ],
      rules: [{}],
    },
  }),
  'policies with a selector and a target': (index) => ({
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: `both-${index}`, namespace: 'other' },
    spec: {
      selector: { matchLabels: { app: 'a' } },
      targetRef: { kind: 'Service', name: 'a' },
      action: 'DENYY',
    },
  }),
  'two waypoints for one service, neither there': (index) => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name: `torn-${index}`,
      labels: { 'istio.io/use-waypoint': `gone-${index}` },
      annotations: { 'sidestep.dev/waypoint': `lost-${index}` },
    },
    spec: {
      clusterIP: 'nowhere',
      selector: { app: `torn-${index}` },
      ports: [{ port: 80, targetPort: 'web' }],
    },
  }),
  'pods of nowhere, in two modes': (index) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `pod-${index}`,
      labels: { app: `torn-${index}`, 'sidestep.dev/mode': 'ambient', 'istio.io/dataplane-mode': 'none' },
    },
    spec: { containers: 'none', hostNetwork: 'maybe' },
    status: { podIPs: [{ ip: '10.0.0.300' }, { ip: `10.3.${index >> 8}.${index & 255}` }] },
  }),
}

const EACH = Math.ceil(10_000 / Object.keys(CROWDS).length)

function crowd(): ConfigObject[] {
  return Object.values(CROWDS).flatMap((make) =>
    Array.from({ length: EACH }, (_, index) => {
      const { metadata, ...rest } = make(index) as { metadata: object } // as: see above
      return toObject({ ...rest, metadata: { namespace: 'shop', ...metadata } })
    }),
  )
}

const good = [
  { kind: 'Service', name: 'cart', spec: { clusterIP: '10.96.0.1', selector: { app: 'cart' }, ports: [{ port: 80 }] } },
  { kind: 'Pod', name: 'cart', spec: { nodeName: 'a' }, status: { podIP: '10.9.0.1' } },
].map(({ name, ...rest }) =>
  toObject({ apiVersion: 'v1', ...rest, metadata: { name, namespace: 'good', labels: { app: 'cart' } } }),
) // biome-ignore format: one object per line

function measured(objects: readonly ConfigObject[]): { result: Translation; ms: number; heapBytes: number } {
  const translator = new Translator(SETTINGS)
  const view = viewOf(objects)
  collectGarbage()
  const { heapUsed } = process.memoryUsage()
  const startMs = performance.now()
  const result = translator.translate(view)
  const ms = performance.now() - startMs
  collectGarbage()
  const heapBytes = process.memoryUsage().heapUsed - heapUsed
  if (translator.translate(view).workloads.size !== result.workloads.size)
    throw new Error('not the same again')
  return { result, ms, heapBytes }
}

t.test('ten thousand odd objects are answered in time, each of them', async (t) => {
  const objects = crowd()
  t.ok(objects.length >= 10_000)
  const { result, ms, heapBytes } = measured([...objects, ...good])
  t.comment(`${Math.round(ms)} ms, ${Math.round(heapBytes / 1024)} KiB, ${result.findings.length} findings`)
  t.ok(ms < MAX_MS, `${ms} ms`)
  t.ok(heapBytes < MAX_HEAP_BYTES, `${heapBytes} bytes`)
  t.ok(result.findings.length <= MAX_FINDINGS + 1)
  const told = new Set(result.findings.map(({ object }) => refKey(object)))
  const silent = objects.filter((object) => !told.has(refKey(refOf(object))))
  t.same(silent.map((object) => refKey(refOf(object))).slice(0, 5), [])
  t.match(result.workloads.get('Kubernetes//Pod/good/cart'), { node: 'a' })
  t.same(Object.keys(result.workloads.get('Kubernetes//Pod/good/cart')?.services ?? {}), [
    'good/cart.good.svc.cluster.local',
  ])
})
