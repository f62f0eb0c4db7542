// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { edgeMethod } from '../../../controller/edges/edge-service.ts'
import { EdgeStore } from '../../../controller/edges/edge-store.ts'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import type { Edge } from '../../../mesh/telemetry/edge.ts'
import { encodeEdgeReport } from '../../../mesh/telemetry/edge-report.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const EDGE: Edge = {
  ...{
    reporter: 'source',
    source: null,
    destination: null,
    service: 'cart',
    isPlaintext: true,
    reason: 'OK',
  },
  ...{ opened: 1, failed: 0, receivedBytes: 0, sentBytes: 0 },
}
const REPORT = Buffer.from(encodeEdgeReport({ edges: [EDGE], omitted: 0 }))
const NODES: Readonly<Record<string, string | null>> = { one: 'n1', two: 'n2', user: null }

function openLab() {
  const clock = new ManualClock()
  const store = new EdgeStore(clock)
  let asked = 0
  const method = edgeMethod({
    ...{ store, clock },
    authenticate: async (metadata) => {
      asked++
      const node = NODES[metadata.get('authorization') ?? '']
      if (node === undefined) throw new MeshError('TOKEN_INVALID')
      return { node }
    },
  })
  const call = async (
    token: string | undefined,
    request = REPORT,
    address = '10.0.0.1:4711',
  ): Promise<string> => {
    const metadata = { get: (name: string) => (name === 'authorization' ? token : undefined) }
    const context = { metadata, peer: { address, certificateDer: undefined }, request }
    try {
      await method.handle({ ...context, signal: new AbortController().signal })
      return 'OK'
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      return error.code
    }
  }
  return { clock, store, call, asked: () => asked }
}

t.test('a report counts for the node whose token comes with it', async (t) => {
  const { call, store } = openLab()
  t.equal(await call('one'), 'OK')
  t.equal(await call('two'), 'OK')
  t.same(
    store.list().map(({ node, service }) => [node, service]),
    [
      ['n1', 'cart'],
      ['n2', 'cart'],
    ],
  )
})

t.test('who is not known, or no node, tells nothing', async (t) => {
  const { call, store } = openLab()
  t.equal(await call('forged'), 'TOKEN_INVALID')
  t.equal(await call(undefined), 'TOKEN_INVALID')
  t.equal(await call('user'), 'IDENTITY_REFUSED')
  t.equal(await call('one', Buffer.from('garbage')), 'REQUEST_INVALID')
  t.equal(store.size, 0)
})

t.test('a token is looked at once in five minutes', async (t) => {
  const { call, clock, asked } = openLab()
  for (let time = 0; time < 3; time++) t.equal(await call('one'), 'OK')
  t.equal(asked(), 1)
  clock.advance(300_000)
  t.equal(await call('one'), 'OK')
  t.equal(asked(), 2)
})

t.test('who reports too often, or fails too often, is not listened to for a while', async (t) => {
  const { call, clock, asked } = openLab()
  const ends: string[] = []
  for (let time = 0; time < 12; time++) ends.push(await call('one'))
  t.same(ends.slice(10), ['LIMIT_NODE', 'LIMIT_NODE'])
  t.equal(await call('two'), 'OK', 'others are')
  clock.advance(2_000)
  t.equal(await call('one'), 'OK')
  const before = asked()
  for (let time = 0; time < 60; time++) ends.push(await call('forged', REPORT, `10.0.0.9:${time}`))
  t.equal(ends.at(-1), 'LIMIT_NODE')
  t.equal(asked() - before, 50, 'without looking at the token')
})
