// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { naiveVerdict } from '../../support/naive-authz.ts'
import { receivedPolicy } from '../../support/received-policies.ts'
import { translateYaml } from '../../support/translated.ts'
import { parseObjects } from '../../support/yaml-objects.ts'

const MODES = ['', 'UNSET', 'STRICT', 'PERMISSIVE', 'DISABLE'] as const

const peer = (namespace: string, spec: object): string =>
  JSON.stringify({
    apiVersion: 'security.istio.io/v1',
    kind: 'PeerAuthentication',
    metadata: { name: 'p', namespace },
    spec,
  })
const pod = JSON.stringify({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'cart', namespace: 'shop', labels: { app: 'cart' } },
  status: { podIP: '10.2.0.1' },
})

/** Whether plaintext reaches a port of the pod. */
function acceptsPlaintext(text: string, port: number): boolean {
  const { workloads, authorizations } = translateYaml(text)
  const [workload] = [...workloads.values()]
  if (workload === undefined) throw new Error('no pod')
  const policies = [...authorizations.values()].map(receivedPolicy)
  const call = { sourceIp: '10.0.0.1', destinationIp: '10.2.0.1', destinationPort: port, identity: null }
  const encrypted = { ...call, identity: { trustDomain: 'other', namespace: 'x', serviceAccount: 'y' } }
  if (!naiveVerdict(policies, workload, encrypted).allowed) throw new Error('an identity is refused')
  return naiveVerdict(policies, workload, call).allowed
}

t.test('port beats workload beats namespace beats mesh, and what is unset inherits', async (t) => {
  const isOpen = (...modes: readonly string[]): boolean =>
    (modes.find((mode) => mode !== '' && mode !== 'UNSET') ?? 'PERMISSIVE') !== 'STRICT'
  const own = { matchLabels: { app: 'cart' } }
  const spec = (mode: string): object => (mode === '' ? {} : { mtls: { mode } })
  let count = 0
  for (const mesh of MODES) {
    for (const namespace of MODES) {
      for (const workload of MODES) {
        for (const port of MODES) {
          const portLevelMtls = { ...(port === '' ? {} : { 8080: { mode: port } }), 9090: { mode: 'UNSET' } }
          const text = [
            pod,
            ...(mesh === '' ? [] : [peer('istio-system', spec(mesh))]),
            ...(namespace === '' ? [] : [peer('shop', spec(namespace)).replace('"name":"p"', '"name":"n"')]),
            peer('shop', { selector: own, ...spec(workload), portLevelMtls }),
          ].join('\n---\n')
          const expected = [isOpen(port, workload, namespace, mesh), isOpen(workload, namespace, mesh)]
          const actual = [acceptsPlaintext(text, 8080), acceptsPlaintext(text, 9090)]
          if (String(actual) !== String(expected)) t.same(actual, expected, text)
          count++
        }
      }
    }
  }
  t.equal(count, MODES.length ** 4)
})

t.test('the oldest of several counts', async (t) => {
  const at = (name: string, created: string, mode: string): string =>
    `{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: ${name}, namespace: shop, creationTimestamp: '${created}'}, spec: {selector: {matchLabels: {app: cart}}, mtls: {mode: ${mode}}}}`
  const [older, younger] = ['2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z']
  t.equal(
    acceptsPlaintext([pod, at('a', younger, 'STRICT'), at('b', older, 'PERMISSIVE')].join('\n---\n'), 80),
    true,
  )
  t.equal(
    acceptsPlaintext([pod, at('a', younger, 'PERMISSIVE'), at('b', older, 'STRICT')].join('\n---\n'), 80),
    false,
  )
})

t.test('what cannot be read is strict', async (t) => {
  const broken = [
    { mtls: { mode: 'PERMISIVE' } },
    { mtls: { mode: 7 } },
    { mtls: 'PERMISSIVE' },
    { mtls: { mode: 'PERMISSIVE' }, portLevelMtls: { http: { mode: 'STRICT' } } },
    { mtls: { mode: 'PERMISSIVE' }, portLevelMtls: { 8080: { mode: 'STRIKT' } } },
    { mtls: { mode: 'PERMISSIVE' }, selector: { matchLabels: { app: 1 } } },
    { mtls: { mode: 'PERMISSIVE' }, selektor: {} },
    { mtls: { mode: 'PERMISSIVE' }, portLevelMtls: { 8080: { moed: 'STRICT' } } },
  ]
  for (const spec of broken) {
    const text = `${pod}\n---\n${peer('shop', spec)}`
    t.equal(acceptsPlaintext(text, 8080), false, JSON.stringify(spec))
    t.same(
      translateYaml(text).enforcement.map(({ kind }) => kind),
      ['refused'],
    )
  }
  t.equal(parseObjects(pod).length, 1)
})
