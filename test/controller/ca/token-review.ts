// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import type { Caller } from '../../../controller/ca/attestation.ts'
import { tokenReviewAttestor } from '../../../controller/ca/token-review.ts'
import { isRefusal, type Refusal } from '../../../mesh/errors/refusal.ts'
import { CART, credentialsOf, FRONT, TestKubernetes, TRUST_DOMAIN } from '../../support/ca.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const ZTUNNEL = `spiffe://${TRUST_DOMAIN}/ns/istio-system/sa/ztunnel`
const POD_NAME = 'authentication.kubernetes.io/pod-name'
const POD_UID = 'authentication.kubernetes.io/pod-uid'
const NODE_NAME = 'authentication.kubernetes.io/node-name'

function setUp() {
  const kubernetes = new TestKubernetes()
  const clock = new ManualClock()
  const attestor = tokenReviewAttestor({
    kubernetes,
    clock,
    trustDomain: TRUST_DOMAIN,
    nodeAccounts: ['istio-system/ztunnel'],
  })
  const ztunnel = kubernetes.addPod('istio-system', 'ztunnel-1', {
    uid: 'u1',
    node: 'node1',
    serviceAccount: 'ztunnel',
  })
  kubernetes.addPod('shop', 'cart-1', { uid: 'u2', node: 'node1', serviceAccount: 'cart' })
  kubernetes.addPod('shop', 'front-1', { uid: 'u3', node: 'node2', serviceAccount: 'front' })
  const attest = (token: string) =>
    attestor.attest(credentialsOf({ authorization: `Bearer ${token}` }, clock.nowMs))
  const believed = async (token: string): Promise<Caller> => {
    const caller = await attest(token)
    if (caller === null || isRefusal(caller)) throw new Error(JSON.stringify(caller))
    return caller
  }
  return { kubernetes, clock, attestor, ztunnel, attest, believed }
}

t.test('a node account gets its own identity and those of pods on its node', async (t) => {
  const { believed, ztunnel } = setUp()
  const caller = await believed(ztunnel)
  t.match(caller, { node: 'node1', account: 'istio-system/ztunnel' })
  t.equal(await caller.authorise(null), ZTUNNEL)
  t.equal(await caller.authorise(ZTUNNEL), ZTUNNEL)
  t.equal(await caller.authorise(CART), CART)
  t.match(await caller.authorise(FRONT), { code: 'IDENTITY_REFUSED' }, 'on another node')
  for (const bad of [
    'spiffe://other/ns/shop/sa/cart',
    `spiffe://${TRUST_DOMAIN}/ns/sidestep.node/sa/node1`,
    `spiffe://${TRUST_DOMAIN}/ns/shop/sa/cart/x`,
    '',
  ])
    t.match(await caller.authorise(bad), { code: 'IDENTITY_REFUSED' }, bad)
})

t.test('any other account gets its own identity only', async (t) => {
  const { believed, kubernetes } = setUp()
  const token = kubernetes.addPod('shop', 'cart-2', { uid: 'u9', node: 'node1', serviceAccount: 'cart' })
  const caller = await believed(token)
  t.equal(await caller.authorise(null), CART)
  t.match(await caller.authorise(ZTUNNEL), { code: 'IDENTITY_REFUSED' })
  const twin = kubernetes.addPod('other', 'ztunnel-1', {
    uid: 'u8',
    node: 'node1',
    serviceAccount: 'ztunnel',
  })
  t.match(await (await believed(twin)).authorise(CART), { code: 'IDENTITY_REFUSED' }, 'of another namespace')
})

t.test('a pod that ended takes its identity with it, at once', async (t) => {
  const { believed, kubernetes, ztunnel, attest } = setUp()
  const caller = await believed(ztunnel)
  kubernetes.pods.delete('shop/cart-1')
  t.match(await caller.authorise(CART), { code: 'IDENTITY_REFUSED' })
  kubernetes.pods.delete('istio-system/ztunnel-1')
  t.match(
    await attest(ztunnel),
    { code: 'TOKEN_INVALID' },
    "though the review is remembered: the caller's pod too",
  )
})

t.test('forged, foreign, unbound and outdated tokens are refused', async (t) => {
  const { attest } = setUp()
  const pod = { uid: 'u5', node: 'node1', serviceAccount: 'ztunnel' }
  t.match(await attest('forged'), { code: 'TOKEN_INVALID' })
  const cases: [string, Parameters<TestKubernetes['addPod']>[3]][] = [
    ['not authenticated (expired, or of another cluster)', { authenticated: false }],
    ['for another audience', { audiences: ['https://kubernetes.default.svc'] }],
    ['for no audience', { audiences: [] }],
    ['of a person', { username: 'admin' }],
    ['of a node', { username: 'system:node:node1' }],
    ['of half an account', { username: 'system:serviceaccount:istio-system' }],
    ['of too much of an account', { username: 'system:serviceaccount:istio-system:ztunnel:x' }],
    ['of an empty account', { username: 'system:serviceaccount::' }],
    ['of another account than the pod', { username: 'system:serviceaccount:istio-system:istiod' }],
    ['of another namespace than the pod', { username: 'system:serviceaccount:shop:ztunnel' }],
    ['not bound to a pod', { extra: { [POD_NAME]: [], [POD_UID]: [] } }],
    ['bound without uid', { extra: { [POD_UID]: [] } }],
    ['bound to two pods', { extra: { [POD_NAME]: ['odd', 'even'] } }],
    ['of a pod of that name before', { extra: { [POD_UID]: ['u4'] } }],
    ['of a pod that is not there', { extra: { [POD_NAME]: ['gone'] } }],
    ['made on another node', { extra: { [NODE_NAME]: ['node2'] } }],
  ]
  for (const [why, differing] of cases) {
    const { attest: fresh, kubernetes: cluster } = setUp()
    const token = cluster.addPod('istio-system', 'odd', pod, differing)
    t.match(await fresh(token), { kind: 'refusal', code: 'TOKEN_INVALID' }, why)
  }
  const { attest: fresh, kubernetes: cluster } = setUp()
  t.match(await fresh(cluster.addPod('istio-system', 'odd', pod, { extra: { [NODE_NAME]: ['node1'] } })), {
    kind: 'caller',
  })
  t.match(await fresh(cluster.addPod('istio-system', 'unscheduled', { ...pod, node: '' })), {
    code: 'TOKEN_INVALID',
  })
})

t.test('join tokens and calls without a token are for others', async (t) => {
  const { attest, attestor, kubernetes } = setUp()
  t.equal(await attest('sidestep-join.x.y'), null)
  t.equal(await attestor.attest(credentialsOf({}, 0)), null)
  t.match(await attestor.attest(credentialsOf({ authorization: 'x' }, 0)), { code: 'TOKEN_INVALID' })
  t.equal(kubernetes.reviews, 0)
})

t.test('a review is remembered for seconds; one that failed is not', async (t) => {
  const { attest, kubernetes, clock, ztunnel } = setUp()
  await Promise.all([attest(ztunnel), attest(ztunnel)])
  await attest(ztunnel)
  t.equal(kubernetes.reviews, 1)
  clock.advance(10_000)
  await attest(ztunnel)
  t.equal(kubernetes.reviews, 2)
  await attest('forged')
  await attest('forged')
  t.equal(kubernetes.reviews, 4)
  kubernetes.tokens.delete(ztunnel)
  clock.advance(10_000)
  t.match(await attest(ztunnel), { code: 'TOKEN_INVALID' }, 'revoked')
})

t.test('an apiserver that is down or silent is no refusal: the caller may try again', async (t) => {
  const { attest, kubernetes, clock, ztunnel } = setUp()
  kubernetes.isDown = true
  await t.rejects(attest(ztunnel), { code: 'CERT_UNAVAILABLE', retryable: true })
  kubernetes.isDown = false
  t.match(await attest(ztunnel), { kind: 'caller' }, 'the failure is not remembered')
  let isAborted = false
  kubernetes.reviewToken = (_token: string, _audience?: string, signal?: AbortSignal) => {
    signal?.addEventListener('abort', () => {
      isAborted = true
    })
    return new Promise(() => {})
  }
  const silent = attest('another')
  clock.advance(5_000)
  await t.rejects(silent, { code: 'CERT_UNAVAILABLE' })
  t.equal(isAborted, true)
})

t.test(
  'whoever asks for whatever: an identity is granted only to itself or to the node of its pod',
  async (t) => {
    const nodes = fc.constantFrom('n1', 'n2')
    const accounts = fc.constantFrom('ztunnel', 'cart', 'front', 'node')
    const namespaces = fc.constantFrom('istio-system', 'shop', 'sidestep.node')
    const pods = fc.array(fc.tuple(namespaces, accounts, nodes), { minLength: 1, maxLength: 6 })
    let granted = 0
    await fc.assert(
      fc.asyncProperty(
        pods,
        fc.nat(),
        namespaces,
        accounts,
        async (placed, pick, namespace, serviceAccount) => {
          const { kubernetes, attest } = setUp()
          kubernetes.pods.clear()
          const tokens = placed.map(([ns, sa, node], index) =>
            kubernetes.addPod(ns, `pod-${index}`, { uid: `u${index}`, node, serviceAccount: sa }),
          )
          const index = pick % placed.length
          const [ownNs, ownSa, ownNode] = placed[index] ?? ['', '', '']
          const caller: Caller | Refusal | null = await attest(tokens[index] ?? '')
          if (isRefusal(caller) && ownNs === 'sidestep.node') return
          if (caller === null || isRefusal(caller)) throw new Error('not believed')
          const requested = `spiffe://${TRUST_DOMAIN}/ns/${namespace}/sa/${serviceAccount}`
          const answer = await caller.authorise(requested)
          if (isRefusal(answer)) return
          granted++
          const isOwn = ownNs !== 'sidestep.node' && ownNs === namespace && ownSa === serviceAccount
          const isHosted =
            ownNs === 'istio-system' &&
            ownSa === 'ztunnel' &&
            namespace !== 'sidestep.node' &&
            placed.some(([ns, sa, node]) => ns === namespace && sa === serviceAccount && node === ownNode)
          if (answer !== requested || !(isOwn || isHosted))
            throw new Error(`${ownNs}/${ownSa} got ${requested}`)
        },
      ),
      { numRuns: 1200 },
    )
    t.ok(granted > 20, `${granted} were granted`)
  },
)
