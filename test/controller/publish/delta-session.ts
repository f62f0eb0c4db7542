// SPDX-License-Identifier: Apache-2.0
import type { JsonObject } from '@bufbuild/protobuf'
import fc from 'fast-check'
import t from 'tap'
import {
  DeltaSession,
  MAX_SUBSCRIBED_NAMES,
  type Refusal,
} from '../../../controller/publish/delta-session.ts'
import { Publisher } from '../../../controller/publish/publisher.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../../../mesh/discovery/protocol.ts'
import { Action, Scope } from '../../../proto/generated/istio/authorization_pb.js'
import { deltaRequest, FakeDeltaClient } from '../../support/delta-client.ts'
import { policy, published, service, workload } from '../../support/published.ts'

const NODE_A = { node: 'node-a', accounts: [] }
const CART = 'Kubernetes//Pod/shop/cart'

function connect(publisher: Publisher, node: string | null = 'node-a') {
  const refusals: Refusal[] = []
  const session = new DeltaSession(
    publisher.sourceFor({ node, accounts: [] }, (refusal) => refusals.push(refusal)),
  )
  const client = new FakeDeltaClient(session)
  client.connect(session)
  return { client, session, refusals }
}

t.test('the first response of each type comes even when there is nothing', async (t) => {
  const { client } = connect(new Publisher())
  client.settle()
  t.same(
    client.responses.map(({ typeUrl }) => typeUrl),
    [AUTHORIZATION_TYPE, ADDRESS_TYPE],
  )
  t.notOk(client.answer())
})

t.test('what changes while a response is under way is told together, in one more', async (t) => {
  const publisher = new Publisher()
  publisher.publish(published([workload('shop/cart')]))
  const { client, session } = connect(publisher)
  client.settle()
  publisher.publish(published([workload('shop/cart', { ip: [10, 0, 0, 1] })]))
  client.receive()
  const before = client.responses.length
  for (const last of [2, 3, 4]) {
    publisher.publish(published([workload('shop/cart', { ip: [10, 0, 0, last] }), workload('shop/web')]))
    client.receive()
  }
  t.equal(client.responses.length, before, 'nothing more before the answer')
  t.ok(session.isWaiting)
  client.settle()
  t.equal(client.responses.length, before + 1)
  t.same([...(client.workloads.get(CART)?.addresses[0] ?? [])], [10, 0, 0, 4])
})

t.test('removed resources are named; a workload that comes back is sent again', async (t) => {
  const publisher = new Publisher()
  const cart = workload('shop/cart')
  publisher.publish(published([cart, workload('shop/web')]))
  const { client } = connect(publisher)
  client.settle()
  publisher.publish(published([workload('shop/web')]))
  client.settle()
  t.same([...client.workloads.keys()], ['Kubernetes//Pod/shop/web'])
  publisher.publish(published([cart, workload('shop/web')]))
  client.settle()
  t.ok(client.workloads.has(CART))
})

t.test('a client that comes back hears only what differs, from any replica', async (t) => {
  const first = published(
    [workload('shop/cart'), workload('shop/web')],
    [],
    [policy('shop/p', Scope.NAMESPACE)],
  )
  const publisher = new Publisher()
  publisher.publish(first)
  const { client } = connect(publisher)
  client.settle()
  const replica = new Publisher()
  replica.publish(published([workload('shop/cart'), workload('shop/api')]))
  const sessionThere = new DeltaSession(replica.sourceFor(NODE_A, () => {}))
  client.responses.length = 0
  client.connect(sessionThere)
  client.settle()
  t.same(
    client.responses.map(({ typeUrl, resources, removedResources }) => ({
      typeUrl,
      names: resources.map(({ name }) => name),
      removedResources,
    })),
    [
      { typeUrl: AUTHORIZATION_TYPE, names: [], removedResources: [] },
      {
        typeUrl: ADDRESS_TYPE,
        names: ['Kubernetes//Pod/shop/api'],
        removedResources: ['Kubernetes//Pod/shop/web'],
      },
      { typeUrl: AUTHORIZATION_TYPE, names: [], removedResources: ['shop/p'] },
    ],
  )
})

t.test('a node that diverts is spared the policies that stand for it, and nothing else', async (t) => {
  const names = ['shop/p', 'shop/sidestep_waypoint_only_shop_wp']
  const publisher = new Publisher()
  publisher.publish(
    published(
      [workload('shop/cart', { policies: names })],
      [],
      names.map((key) => policy(key)),
    ),
  )
  const toldTo = (metadata: JsonObject): string[] => {
    const session = new DeltaSession(publisher.sourceFor(NODE_A, () => {}))
    session.onRequest(
      deltaRequest({ typeUrl: AUTHORIZATION_TYPE, metadata, held: { [names[1] ?? '']: 'old' } }),
    )
    const { answers = [], removed = [] } = session.next() ?? {}
    return [...answers.map(({ name }) => name), ...removed.map((name) => `no ${name}`)]
  }
  for (const value of [true, 'true']) {
    t.same(
      toldTo({ 'sidestep.dev/diverts': value }),
      [names[0], `no ${names[1]}`],
      'what it held is taken back',
    )
  }
  for (const value of [false, 'false', '', 1, null, {}, ['true']]) {
    t.same(toldTo({ 'sidestep.dev/diverts': value }), names, JSON.stringify(value))
  }
  t.same(toldTo({}), names)
})

t.test('asking for a policy by its name gives a node no policy of others', async (t) => {
  const publisher = new Publisher()
  const policies = [policy('shop/own'), policy('bank/picked'), policy('bank/space', Scope.NAMESPACE)]
  publisher.publish(published([workload('shop/cart', { policies: ['shop/own'] })], [], policies))
  const { client, session } = connect(publisher)
  client.settle()
  const subscribe = ['bank/picked', 'bank/space', 'shop/own']
  session.onRequest(deltaRequest({ typeUrl: AUTHORIZATION_TYPE, subscribe }))
  client.settle()
  t.same([...client.policies.keys()], ['shop/own'])
  t.same(client.responses.at(-1)?.removedResources, ['bank/picked', 'bank/space'], 'nobody waits for them')
})

t.test('a node learns the policies of its workloads and no others', async (t) => {
  const publisher = new Publisher()
  const policies = [
    policy('istio-system/all', Scope.GLOBAL),
    policy('shop/space', Scope.NAMESPACE),
    policy('bank/space', Scope.NAMESPACE),
    policy('shop/picked'),
    policy('bank/picked'),
    policy('vm/anywhere'),
  ]
  const workloads = [
    workload('shop/cart', { policies: ['shop/picked'] }),
    workload('bank/vault', { node: 'node-b', policies: ['bank/picked'] }),
    workload('vm/db', { node: '', policies: ['vm/anywhere'] }),
  ]
  publisher.publish(published(workloads, [], policies))
  const { client } = connect(publisher)
  client.settle()
  t.same([...client.policies.keys()].toSorted(), [
    'istio-system/all',
    'shop/picked',
    'shop/space',
    'vm/anywhere',
  ])
  const everybody = connect(publisher, null).client
  everybody.settle()
  t.equal(everybody.policies.size, policies.length)
  // A pod of another namespace comes to the node: its policies come first.
  publisher.publish(
    published([...workloads, workload('bank/teller', { policies: ['bank/picked'] })], [], policies),
  )
  client.settle()
  t.ok(client.policies.has('bank/picked') && client.policies.has('bank/space'))
  publisher.publish(published(workloads, [], policies))
  client.settle()
  t.notOk(client.policies.has('bank/picked') || client.policies.has('bank/space'))
})

t.test('a resource a client will not take is reported, not repeated, and holds up nobody', async (t) => {
  const publisher = new Publisher()
  const { client, refusals } = connect(publisher)
  client.refuses.add(CART)
  publisher.publish(published([workload('shop/cart'), workload('shop/web')]))
  client.settle()
  t.same([...client.workloads.keys()], ['Kubernetes//Pod/shop/web'])
  t.match(refusals, [{ typeUrl: ADDRESS_TYPE, name: CART }])
  t.same(client.responses.at(-1)?.resources, [], 'a response it can take, so that it gets ready')
  client.refuses.clear()
  publisher.publish(published([workload('shop/cart', { ip: [10, 0, 0, 9] }), workload('shop/web')]))
  client.settle()
  t.ok(client.workloads.has(CART), 'its next version is tried again')
})

t.test('a policy a client cannot read: the earlier one stays, or what it covers is denied', async (t) => {
  const publisher = new Publisher()
  const pods = [workload('shop/cart', { policies: ['shop/new', 'shop/dry'] })]
  const { client, refusals } = connect(publisher)
  client.settle()
  publisher.publish(published(pods, [], [policy('shop/known', Scope.NAMESPACE)]))
  client.settle()
  const attempts = new Set(['shop/new', 'shop/known', 'shop/dry'])
  // It refuses each once: the substitute has the same name.
  for (const name of attempts) client.refuses.add(name)
  publisher.publish(
    published(
      pods,
      [],
      [
        policy('shop/known', Scope.NAMESPACE, true),
        policy('shop/new'),
        policy('shop/dry', Scope.WORKLOAD_SELECTOR, true),
      ],
    ),
  )
  client.receive()
  client.answer()
  client.refuses.clear()
  client.settle()
  t.equal(client.policies.get('shop/known')?.dryRun, false, 'as it was')
  t.match(client.policies.get('shop/new'), { action: Action.DENY, rules: [{ clauses: [] }] })
  t.equal(client.policies.get('shop/new')?.rules.length, 1)
  t.notOk(client.policies.has('shop/dry'), 'what would not be enforced needs no substitute')
  t.same(refusals.map(({ name }) => name).toSorted(), [...attempts].toSorted())
})

t.test('a client that asks for single things gets them under the names it used', async (t) => {
  const publisher = new Publisher()
  const members = [
    workload('shop/cart', { ip: [10, 0, 0, 1], services: ['shop/cart.shop.svc'], node: 'node-b' }),
  ]
  const own = workload('shop/own')
  publisher.publish(published([...members, own], [service('shop/cart.shop.svc', [10, 96, 0, 1])]))
  const session = new DeltaSession(publisher.sourceFor(NODE_A, () => {}))
  const ask = (fields: Omit<Parameters<typeof deltaRequest>[0], 'typeUrl'>) => {
    session.onRequest(deltaRequest({ typeUrl: ADDRESS_TYPE, ...fields }))
    const response = session.next()
    if (response !== null) session.onRequest(deltaRequest({ typeUrl: ADDRESS_TYPE, nonce: response.nonce }))
    return response && { names: response.answers.map(({ name }) => name), removed: response.removed }
  }
  const nothing = ask({ subscribe: ['*'], unsubscribe: ['*'] })
  t.same(nothing, { names: ['Kubernetes//Pod/shop/own'], removed: [] }, 'the pods of its node in any case')
  t.same(ask({ subscribe: ['/10.9.9.9'] }), { names: [], removed: ['/10.9.9.9'] })
  t.same(ask({ subscribe: ['/10.96.0.1'] }), {
    names: ['/10.96.0.1', 'shop/cart.shop.svc', CART],
    removed: [],
  })
  t.same(ask({ subscribe: ['/10.0.0.1'] }), { names: ['/10.0.0.1'], removed: [] })
  t.same(
    ask({ subscribe: [CART] }),
    { names: [CART], removed: [] },
    'held already, and asked for all the same',
  )
  publisher.publish(published([workload('shop/late', { ip: [10, 9, 9, 9], node: 'node-b' }), own]))
  t.same(ask({}), {
    names: ['Kubernetes//Pod/shop/late'],
    removed: ['shop/cart.shop.svc', CART],
  })
  t.same(ask({ unsubscribe: ['/10.9.9.9'] }), { names: [], removed: ['Kubernetes//Pod/shop/late'] })
  t.equal(ask({ unsubscribe: ['/10.9.9.9'] }), null)
})

t.test('stale answers, unknown types and too many of anything', async (t) => {
  const publisher = new Publisher()
  publisher.publish(published([workload('shop/cart')]))
  const { client, session } = connect(publisher)
  client.receive()
  session.onRequest(deltaRequest({ typeUrl: AUTHORIZATION_TYPE, nonce: 'of another stream' }))
  t.ok(session.isWaiting)
  t.same(client.responses.length, 1)
  client.settle()
  session.onRequest(deltaRequest({ typeUrl: 'type.googleapis.com/none' }))
  t.match(session.next(), { typeUrl: 'type.googleapis.com/none', answers: { length: 0 } })
  for (let index = 0; index < 20; index++) session.onRequest(deltaRequest({ typeUrl: `type/${index}` }))
  t.equal(session.end, 'too-many-types')
  const greedy = connect(publisher).session
  greedy.onRequest(
    deltaRequest({ typeUrl: ADDRESS_TYPE, subscribe: new Array(MAX_SUBSCRIBED_NAMES + 1).fill('x') }),
  )
  t.equal(greedy.end, 'too-many-names')
})

t.test(
  'whatever happens in whatever order, clients end with what is published, never open in between',
  async (t) => {
    const names = ['a', 'b', 'c']
    const step = fc.record({
      workloads: fc.array(
        fc.record({
          name: fc.constantFrom(...names),
          node: fc.constantFrom('node-a', 'node-b', ''),
          policies: fc.subarray(['ns/p', 'ns/q', 'ns/r']),
        }),
        { maxLength: 3 },
      ),
      policies: fc.subarray(['ns/p', 'ns/q', 'ns/r']),
      moves: fc.array(fc.constantFrom('receive', 'answer', 'reconnect'), { maxLength: 5 }),
    })
    t.doesNotThrow(() =>
      fc.assert(
        fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
          const publisher = new Publisher()
          const { client } = connect(publisher)
          for (const { workloads, policies, moves } of steps) {
            const named = new Map(workloads.map((each) => [each.name, each]))
            // What a workload names exists: translation sees to that.
            const pods = [...named.values()].map(({ name, node, policies: own }) =>
              workload(`ns/${name}`, { node, policies: own.filter((each) => policies.includes(each)) }),
            )
            publisher.publish(
              published(
                pods,
                [],
                policies.map((each) => policy(each)),
              ),
            )
            for (const move of moves) {
              if (move === 'receive') client.receive()
              else if (move === 'answer') client.answer()
              else client.connect(new DeltaSession(publisher.sourceFor(NODE_A, () => {})))
              for (const held of client.workloads.values()) {
                if (held.node === 'node-b') continue
                const open = held.authorizationPolicies.filter((each) => !client.policies.has(each))
                if (open.length > 0) throw new Error(`${held.name} is open: ${open}`)
              }
            }
          }
          client.settle()
          const last = steps.at(-1)
          const want = [
            ...new Set(last?.workloads.map(({ name }) => `Kubernetes//Pod/ns/${name}`)),
          ].toSorted()
          if (JSON.stringify([...client.workloads.keys()].toSorted()) !== JSON.stringify(want))
            throw new Error('other workloads')
          const wantedPolicies = new Set(
            [...client.workloads.values()].flatMap(({ node, authorizationPolicies }) =>
              node === 'node-b' ? [] : authorizationPolicies,
            ),
          )
          if (
            JSON.stringify([...client.policies.keys()].toSorted()) !==
            JSON.stringify([...wantedPolicies].toSorted())
          )
            throw new Error(
              `other policies: ${[...client.policies.keys()]} instead of ${[...wantedPolicies]}`,
            )
        }),
        {
          numRuns: 500,
          examples: [
            // A workload that comes and goes while the client is slow: its policy was sent, and it never was.
            [
              [
                { workloads: [], policies: [], moves: ['receive', 'answer', 'receive'] },
                {
                  workloads: [{ name: 'a', node: 'node-a', policies: ['ns/q'] }],
                  policies: ['ns/q'],
                  moves: ['receive'],
                },
                { workloads: [], policies: [], moves: [] },
              ],
            ],
          ],
        },
      ),
    )
  },
)
