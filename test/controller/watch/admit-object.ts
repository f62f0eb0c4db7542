// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { admitObject } from '../../../controller/watch/admit-object.ts'
import { policyValue, serviceValue } from '../../support/config-objects.ts'

const of = (apiVersion: string, kind: string) =>
  admitObject({ apiVersion, kind, metadata: { name: 'a' } }, null)

t.test('a good object counts, one with an unknown field too', async (t) => {
  t.match(admitObject(serviceValue('cart'), null), { verdict: 'good', object: { kind: 'Service' } })
  const odd = admitObject({ ...serviceValue('cart'), spec: { prots: [] } }, null)
  t.equal(odd.verdict, 'good')
  t.equal(odd.mistakes[0]?.suggestion, 'ports')
})

t.test('a broken object is named, so that its last good version can stay', async (t) => {
  const broken = admitObject(serviceValue('cart', 'eighty'), null)
  if (broken.verdict !== 'broken') throw new Error(broken.verdict)
  t.same(broken.ref, { group: '', kind: 'Service', namespace: 'shop', name: 'cart' })
  t.equal(broken.closing, null, 'half a service helps nobody')
  const nameless = admitObject({ apiVersion: 'v1', kind: 'Service', metadata: {} }, null)
  t.match(nameless, { verdict: 'broken', ref: null })
})

t.test('a broken policy still closes when there is no better version', async (t) => {
  const broken = admitObject(policyValue('p', { action: 'DENNY' }), null)
  if (broken.verdict !== 'broken') throw new Error(broken.verdict)
  t.equal(broken.closing?.metadata.name, 'p')
})

t.test('a broken NetworkPolicy still selects; one of another group is none of ours', async (t) => {
  const value = {
    kind: 'NetworkPolicy',
    metadata: { name: 'p', namespace: 'shop' },
    spec: { podSelector: 7 },
  }
  const broken = admitObject({ apiVersion: 'networking.k8s.io/v1', ...value }, null)
  if (broken.verdict !== 'broken') throw new Error(broken.verdict)
  t.equal(broken.closing?.metadata.name, 'p')
  t.equal(admitObject({ apiVersion: 'projectcalico.org/v3', ...value }, null).verdict, 'ignored')
})

t.test('a kind or version that is not there is an error with what was meant', async (t) => {
  for (const [apiVersion, kind, suggestion] of [
    ['security.istio.io/v1', 'AuthorizatonPolicy', 'AuthorizationPolicy'],
    ['v1', 'Servce', 'Service'],
    ['networking.istio.io/v1', 'AuthorizationPolicy', 'security.istio.io/v1'],
    ['security.istio.io/v2', 'AuthorizationPolicy', 'security.istio.io/v1'],
    ['v2', 'Pod', 'v1'],
    ['gateway.networking.k8s.io/v1alpha7', 'Gateway', 'gateway.networking.k8s.io/v1'],
  ] as const) {
    const admission = of(apiVersion, kind)
    t.equal(admission.verdict, 'broken', kind)
    t.match(admission.mistakes.at(-1), { severity: 'error', suggestion }, `${apiVersion} ${kind}`)
  }
})

t.test('kinds of others are ignored and said to be', async (t) => {
  for (const [apiVersion, kind] of [
    ['v1', 'Secret'],
    ['apps/v1', 'Deployment'],
    ['example.com/v1', 'Whatever'],
  ] as const) {
    const admission = of(apiVersion, kind)
    t.equal(admission.verdict, 'ignored', kind)
    t.match(admission.mistakes, [{ severity: 'info', message: /not read/ }])
  }
})
