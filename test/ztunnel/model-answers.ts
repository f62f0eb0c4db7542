// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { MeshState } from '../../mesh/model/mesh-state.ts'
import { ModelAnswers } from '../../ztunnel/model-answers.ts'
import type { DownMessage } from '../../ztunnel/worker-messages.ts'
import { meshOf } from '../support/mesh.ts'

const workload = (name: string, ip: string, services = '{}'): string =>
  `- {uid: ${name}, name: ${name}, namespace: shop, serviceAccount: ${name}, trustDomain: cluster.local, ` +
  `workloadIps: ["${ip}"], protocol: HBONE, node: n1, services: ${services}}\n`
const CART = 'cart.shop.svc.cluster.local'
/** Headless: its name stands for its pods. */
const BACK = 'back.shop.svc.cluster.local'
const OF_CART = `{shop/${CART}: {80: 8080}, shop/${BACK}: {80: 8080}}`
const MESH =
  `workloads:\n${workload('front', '10.1.0.1')}${workload('cart', '10.2.0.1', OF_CART)}` +
  `services:\n- {name: cart, namespace: shop, hostname: ${CART}, vips: ["/10.96.0.10"], ports: {80: 8080}}\n` +
  `- {name: back, namespace: shop, hostname: ${BACK}, vips: [], ports: {80: 8080}}\npolicies: []\n`
const POD = { uid: 'u-front', name: 'front', namespace: 'shop', serviceAccount: 'front' }
const TYPE_A = 1

function setUp({ isAnswered = true, isKnown = true } = {}) {
  let state: MeshState | null = meshOf(MESH)
  const told: [worker: number, message: DownMessage][] = []
  const prepared: unknown[] = []
  const waiting: (() => void)[] = []
  const asked: string[] = []
  const answers = new ModelAnswers({
    ...{ network: '', clusterDomain: 'cluster.local', random: () => 0 },
    state: () => state,
    pods: {
      workloadOf: (uid) => (uid === POD.uid && isKnown ? state?.workloadByIp('', '10.1.0.1') : undefined),
      infoOf: (uid) => (uid === POD.uid ? POD : undefined),
    },
    demanded: {
      when: (ip, asker, waiter) => {
        asked.push(`${ip} for ${asker}`)
        waiting.push(() => waiter(isAnswered))
      },
    },
    streamSlots: { prepare: (waypoints) => void prepared.push(waypoints) },
    post: (worker, message) => void told.push([worker, message]),
  })
  const answerAll = (): void => {
    for (const each of waiting.splice(0)) each()
  }
  const forget = (): void => {
    state = null
  }
  return { answers, told, prepared, asked, answerAll, forget }
}

t.test('where a connection goes, once that is known', async (t) => {
  const { answers, told, prepared, asked, answerAll } = setUp()
  answers.onQuestion(1, { type: 'resolve', uid: 'u-front', ip: '10.96.0.10', port: 80 })
  t.same(told, [], 'it is waited for')
  t.same(asked, ['10.96.0.10 for 1 u-front 80'])
  answerAll()
  t.match(told, [[1, { type: 'destination', uid: 'u-front', view: { ip: '10.96.0.10', port: 80 } }]])
  t.same(prepared, [[]], 'workers may count the streams of its waypoints')
})

t.test('nobody says what is there', async (t) => {
  const { answers, told, answerAll } = setUp({ isAnswered: false })
  answers.onQuestion(0, { type: 'resolve', uid: 'u-front', ip: '10.9.9.9', port: 80 })
  answerAll()
  const refusal = { code: 'DISCOVERY_UNANSWERED', detail: '10.9.9.9:80' }
  t.match(told, [[0, { type: 'destination-unknown', uid: 'u-front', ip: '10.9.9.9', port: 80, refusal }]])
})

t.test(
  'a pod that the mesh does not know has no destinations, nor has one that is gone meanwhile',
  async (t) => {
    const unknown = setUp({ isKnown: false })
    unknown.answers.onQuestion(0, { type: 'resolve', uid: 'u-front', ip: '10.96.0.10', port: 80 })
    t.same(unknown.asked, [])
    const gone = setUp()
    gone.answers.onQuestion(0, { type: 'resolve', uid: 'u-front', ip: '10.96.0.10', port: 80 })
    gone.forget()
    gone.answerAll()
    t.same(gone.told, [])
  },
)

t.test('hosts: addresses, services by all names that DNS knows them by, and others', async (t) => {
  const { answers, told } = setUp()
  const names = ['cart', 'cart.shop', 'cart.shop.svc', `${CART}.`, 'back', 'cart.other']
  for (const host of ['10.1.2.3', '::1', CART, 'elsewhere.example', ...names])
    answers.onQuestion(0, { type: 'resolve-host', uid: 'u-front', host })
  t.same(
    told.map(([, message]) => (message.type === 'host' ? [message.host, message.ip] : message)),
    [
      ['10.1.2.3', '10.1.2.3'],
      ['::1', '::1'],
      [CART, '10.96.0.10'],
      ['elsewhere.example', null],
      ['cart', '10.96.0.10'],
      ['cart.shop', '10.96.0.10'],
      ['cart.shop.svc', '10.96.0.10'],
      [`${CART}.`, '10.96.0.10'],
      ['back', '10.2.0.1'],
      ['cart.other', null],
    ],
  )
})

t.test(
  'names: ours have records, all others are the resolver’s, and so is each before the first model',
  async (t) => {
    const { answers, told, forget } = setUp()
    const ask = (name: string): void =>
      answers.onQuestion(0, { type: 'resolve-dns', uid: 'u-front', name, queryType: TYPE_A })
    ask(CART)
    ask('www.example.org')
    forget()
    ask(CART)
    t.match(told[0], [0, { type: 'dns', name: CART, verdict: [{}] }])
    t.same(
      told.slice(1).map(([, message]) => (message.type === 'dns' ? message.verdict : message)),
      [null, null],
    )
  },
)

t.test('callers by their address', async (t) => {
  const { answers, told } = setUp()
  answers.onQuestion(0, { type: 'resolve-caller', ip: '10.1.0.1' })
  answers.onQuestion(0, { type: 'resolve-caller', ip: '10.1.0.9' })
  t.match(told, [
    [0, { type: 'caller', ip: '10.1.0.1', workload: { name: 'front', namespace: 'shop' } }],
    [0, { type: 'caller', ip: '10.1.0.9', workload: null }],
  ])
})
