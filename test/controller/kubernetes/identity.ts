// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { kubernetesIdentity, readReview } from '../../../controller/kubernetes/identity.ts'
import { ConfigStore } from '../../../controller/watch/config-store.ts'
import { readObject } from '../../../controller/watch/read-object.ts'
import type { KubernetesClient } from '../../../mesh/kubernetes/client.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const REVIEWED = {
  authenticated: true,
  user: { username: 'system:serviceaccount:shop:cart', extra: { 'x/pod-name': ['cart-1'] } },
  audiences: ['istio-ca'],
}

function setUp() {
  const store = new ConfigStore(new ManualClock(), () => {})
  const asked: unknown[] = []
  const client = {
    create: async (path: string, body: unknown) => {
      asked.push({ path, body })
      return { status: REVIEWED }
    },
  } as unknown as KubernetesClient // as: the one method that is used
  const pods = { view: store, isSynced: () => store.state.isSynced }
  const pod = (name: string, node: string, account: string | undefined, phase = 'Running') => {
    const { object } = readObject(
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace: 'shop', uid: `uid-${name}` },
        spec: { nodeName: node, ...(account !== undefined && { serviceAccountName: account }) },
        status: { phase },
      },
      null,
    )
    if (object === null) throw new Error('no pod')
    store.apply(object)
  }
  return { store, asked, identity: kubernetesIdentity(client, pods), pod }
}

t.test('a token is reviewed for the audience, and what the apiserver says is read', async (t) => {
  const { identity, asked } = setUp()
  t.same(await identity.reviewToken('secret', 'istio-ca', AbortSignal.timeout(1000)), {
    authenticated: true,
    username: 'system:serviceaccount:shop:cart',
    audiences: ['istio-ca'],
    extra: { 'x/pod-name': ['cart-1'] },
  })
  t.same(asked, [
    {
      path: '/apis/authentication.k8s.io/v1/tokenreviews',
      body: {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenReview',
        spec: { token: 'secret', audiences: ['istio-ca'] },
      },
    },
  ])
})

t.test('whatever a review is, only a true one proves something', async (t) => {
  const nothing = { authenticated: false, username: '', audiences: [], extra: {} }
  for (const value of [null, 1, 'x', [], {}, { status: null }, { status: { authenticated: 'true' } }])
    t.same(readReview(value), nothing, JSON.stringify(value))
  t.same(readReview({ status: { ...REVIEWED, audiences: 'istio-ca', user: { username: 5, extra: [1] } } }), {
    ...nothing,
    authenticated: true,
  })
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const { authenticated, username, audiences } = readReview({ status: value })
      t.equal(authenticated, (value as { authenticated?: unknown } | null)?.authenticated === true)
      t.equal(typeof username, 'string')
      t.ok(Array.isArray(audiences))
    }),
  )
})

t.test('before the pods are known nobody is refused: the question is to be asked again', async (t) => {
  const { identity, store, pod } = setUp()
  pod('cart-1', 'node1', 'cart')
  t.throws(() => identity.findPod('shop', 'cart-1'), { code: 'CERT_UNAVAILABLE', retryable: true })
  t.throws(() => identity.hasPodOn('node1', 'shop', 'cart'), { code: 'CERT_UNAVAILABLE', retryable: true })
  store.synced()
  t.same(identity.findPod('shop', 'cart-1'), { uid: 'uid-cart-1', node: 'node1', serviceAccount: 'cart' })
})

t.test('accounts are where their running pods are, now', async (t) => {
  const { identity, store, pod } = setUp()
  store.synced()
  pod('cart-1', 'node1', 'cart')
  pod('nobody', 'node1', undefined)
  pod('pending', '', 'late')
  t.ok(identity.hasPodOn('node1', 'shop', 'cart'))
  t.ok(identity.hasPodOn('node1', 'shop', 'default'), 'a pod that names none has the default account')
  t.notOk(identity.hasPodOn('node2', 'shop', 'cart'))
  t.notOk(identity.hasPodOn('node1', 'other', 'cart'))
  t.notOk(identity.hasPodOn('', 'shop', 'late'), 'no node is not a node')
  pod('cart-1', 'node1', 'cart', 'Succeeded')
  t.notOk(identity.hasPodOn('node1', 'shop', 'cart'), 'an ended pod runs nothing')
  t.equal(identity.findPod('shop', 'cart-1'), undefined)
  pod('cart-2', 'node2', 'cart')
  t.ok(identity.hasPodOn('node2', 'shop', 'cart'))
  store.remove({ group: '', kind: 'Pod', namespace: 'shop', name: 'cart-2' })
  t.notOk(identity.hasPodOn('node2', 'shop', 'cart'))
})
