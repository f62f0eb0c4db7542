// SPDX-License-Identifier: Apache-2.0
// 10,000 pods behind 1,000 services: what did not change is the same object again.
import t from 'tap'
import { Translator } from '../../../controller/translate/translate.ts'
import type { Translation } from '../../../controller/translate/translation.ts'
import type { ConfigObject } from '../../../controller/watch/config-object.ts'
import { WorkloadStatus } from '../../../proto/generated/istio/workload_pb.js'
import { SETTINGS } from '../../support/translated.ts'
import { toObject, viewOf } from '../../support/yaml-objects.ts'

const SERVICES = 1000
const PODS = 10

function largeMesh(): ConfigObject[] {
  const objects: ConfigObject[] = []
  const add = (apiVersion: string, kind: string, name: string, namespace: string, rest: object): void => {
    const { labels, ...others } = { labels: {}, ...rest }
    objects.push(toObject({ apiVersion, kind, metadata: { name, namespace, labels }, ...others }))
  }
  for (let index = 0; index < 20; index++) {
    add('v1', 'Namespace', `ns${index}`, '', { labels: { 'sidestep.dev/mode': 'ambient' } })
    add('v1', 'Node', `node${index}`, '', { labels: { 'topology.kubernetes.io/zone': `z${index % 3}` } })
  }
  for (let index = 0; index < SERVICES; index++) {
    const namespace = `ns${index % 20}`
    const app = `app${index}`
    const ports = [{ port: 80, targetPort: 'http' }]
    add('v1', 'Service', app, namespace, { spec: { clusterIP: '10.0.0.1', selector: { app }, ports } })
    const matchLabels = { app }
    add('security.istio.io/v1', 'AuthorizationPolicy', app, namespace, {
      spec: { selector: { matchLabels } },
    })
    for (let pod = 0; pod < PODS; pod++) {
      const containers = [{ ports: [{ name: 'http', containerPort: 8080 }] }]
      add('v1', 'Pod', `${app}-${pod}`, namespace, {
        labels: { app, version: 'v1' },
        spec: { nodeName: `node${pod}`, containers },
        status: {
          podIP: `10.${pod + 1}.${index >> 8}.${index & 255}`,
          conditions: [{ type: 'Ready', status: 'True' }],
        },
      })
    }
  }
  return objects
}

/** Keys of what is another object than before, appeared or is gone. */
function changes(before: Translation, after: Translation): string[] {
  return (['workloads', 'services', 'authorizations'] as const).flatMap((kind) => {
    const keys = new Set([...before[kind].keys(), ...after[kind].keys()])
    return [...keys].filter((key) => before[kind].get(key) !== after[kind].get(key))
  })
}

t.test('one change among ten thousand pods changes what depends on it and nothing else', async (t) => {
  const objects = largeMesh()
  const translator = new Translator(SETTINGS)
  let last = translator.translate(viewOf(objects))
  t.equal(last.workloads.size, SERVICES * PODS)
  t.equal(last.services.size, SERVICES)
  t.same(last.findings, [])
  /** Changes one object and tells what that changed. */
  const change = (
    kind: string,
    name: string,
    how: (object: ConfigObject) => ConfigObject | null,
  ): string[] => {
    const index = objects.findIndex((each) => each.kind === kind && each.metadata.name === name)
    const object = objects[index]
    if (object === undefined) throw new Error(`no ${kind} ${name}`)
    const changed = how(object)
    if (changed === null) objects.splice(index, 1)
    else objects[index] = changed
    const next = translator.translate(viewOf(objects))
    const found = changes(last, next)
    last = next
    return found
  }
  const pod = 'Kubernetes//Pod/ns7/app7-3'
  t.same(changes(last, translator.translate(viewOf(objects))), [], 'nothing')
  const unready = { podIP: '10.4.0.7', conditions: [{ type: 'Ready', status: 'False' }] }
  t.same(
    change('Pod', 'app7-3', (each) => ({ ...each, status: unready })),
    [pod],
    'a pod is not ready any more',
  )
  t.equal(last.workloads.get(pod)?.status, WorkloadStatus.UNHEALTHY)
  t.same(
    change('Pod', 'app7-3', (each) => ({ ...each })),
    [],
    'a pod was written again as it was',
  )
  t.same(
    change('Node', 'node3', (each) => ({ ...each, status: { beat: 2 } })),
    [],
    'a node is alive',
  )
  t.same(
    change('Namespace', 'ns7', (each) => ({ ...each })),
    [],
    'a namespace was written again',
  )
  t.same(
    change('Service', 'app7', (each) => ({ ...each, spec: { ...each.spec, ports: [] } })),
    [
      ...Array.from({ length: PODS }, (_, index) => `Kubernetes//Pod/ns7/app7-${index}`),
      'ns7/app7.ns7.svc.cluster.local',
    ],
  )
  t.same(
    change('AuthorizationPolicy', 'app7', (each) => ({ ...each, spec: { ...each.spec, rules: [{}] } })),
    ['ns7/app7'],
  )
  t.equal(change('AuthorizationPolicy', 'app7', () => null).length, 1 + PODS, 'a policy is gone')
  t.same(
    change('Pod', 'app7-3', () => null),
    [pod],
    'a pod is gone',
  )
  t.notOk(last.workloads.has(pod))
  const moved = { 'topology.kubernetes.io/zone': 'elsewhere' }
  const ofNode = change('Node', 'node3', (each) => ({
    ...each,
    metadata: { ...each.metadata, labels: moved },
  }))
  t.equal(ofNode.length, SERVICES - 1, 'a node stands in another zone')
})

t.test(
  'a policy for the mesh is named by whom it selects, at once and no longer than it is there',
  async (t) => {
    const objects = largeMesh().filter(
      ({ metadata }) => metadata.namespace === '' || metadata.namespace === 'ns0',
    )
    const translator = new Translator(SETTINGS)
    const before = translator.translate(viewOf(objects))
    const strict = toObject({
      apiVersion: 'security.istio.io/v1',
      kind: 'PeerAuthentication',
      metadata: { name: 'default', namespace: 'istio-system' },
      spec: { mtls: { mode: 'STRICT' } },
    })
    const during = translator.translate(viewOf([...objects, strict]))
    for (const { authorizationPolicies, uid } of during.workloads.values()) {
      t.ok(authorizationPolicies.includes('istio-system/istio_converted_static_strict'), uid)
    }
    const after = translator.translate(viewOf(objects))
    for (const [key, { authorizationPolicies }] of after.workloads) {
      t.same(authorizationPolicies, before.workloads.get(key)?.authorizationPolicies)
    }
  },
)
