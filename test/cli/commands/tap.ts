// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { tap } from '../../../cli/commands/tap.ts'
import { CliError, EXIT_UNREACHABLE } from '../../../cli/exit-codes.ts'
import { type FleetNode, plainFleet } from '../../../cli/fleet/fleet.ts'
import { runCommand } from '../../support/cli-run.ts'
import { nodeView, paperNode, shopMesh } from '../../support/node-views.ts'

const NOTHING = {
  ...{ pod: undefined, peer: undefined, reason: undefined },
  ...{ path: undefined, status: undefined, source: undefined },
}
const inbound = {
  ...{ time: 'T', pod: 'shop/cart', direction: 'inbound', transport: 'HBONE', 'src.addr': '10.1.0.1:5' },
  'src.identity': 'spiffe://d/front',
}
const ended = { ...inbound, msg: 'connection complete', bytes_sent: 1, bytes_recv: 2 }

/** A node that tells these events, in pieces of three bytes. */
function node(name: 'n1' | 'n2', events: readonly unknown[], asked: string[] = []): FleetNode {
  return {
    ...paperNode(nodeView(name, shopMesh())),
    async *stream(path) {
      asked.push(path)
      const bytes = Buffer.from(`\n${events.map((event) => `${JSON.stringify(event)}\n\n`).join('')}`)
      for (let at = 0; at < bytes.length; at += 3) yield bytes.subarray(at, at + 3)
    },
  }
}

t.test('one line for each event: what opened, closed, was refused, changed', async (t) => {
  const events = [
    { ...inbound, msg: 'connection opened' },
    { ...ended, reason: 'OK', connect_ms: 1 },
    { ...ended, reason: 'POLICY_DENY', policy: 'shop/no', detail: 'a rule \u001b[2J' },
    { time: 'T', pod: 'shop/cart', msg: 'pod enrolled', uid: 'u' },
    { time: 'T', msg: 'events lost', count: 7 },
  ]
  const { output, code } = await runCommand(plainFleet([node('n2', events)]), (io) => tap(io, NOTHING))
  t.equal(code, 0)
  t.same(output.split('\n'), [
    'T  n2  shop/cart  opened  <-  spiffe://d/front  10.1.0.1:5  mTLS',
    'T  n2  shop/cart  closed  <-  spiffe://d/front  10.1.0.1:5  mTLS  OK  1 sent, 2 received',
    'T  n2  shop/cart  refused  <-  spiffe://d/front  10.1.0.1:5  mTLS  POLICY_DENY  1 sent, 2 received  policy shop/no  a rule \\u{1b}[2J',
    'T  n2  shop/cart  pod enrolled  uid=u',
    'T n2: 7 events lost, too slowly read',
    '',
  ])
})

t.test('JSON is one line each, and what is asked for arrives at the nodes', async (t) => {
  const asked: string[] = []
  const fleet = plainFleet([node('n1', [ended], asked), node('n2', [{ ...ended, detail: '\u009b' }], asked)])
  const { output } = await runCommand(
    fleet,
    (io) => tap(io, { ...NOTHING, pod: 'shop/cart', peer: 'a&b', reason: 'OK' }),
    'json',
  )
  const lines = output.trim().split('\n')
  t.same(lines.map((line) => JSON.parse(line).node).toSorted(), ['n1', 'n2'])
  t.notMatch(output, /\u009b/)
  t.same(new Set(asked), new Set(['/tap?pod=shop%2Fcart&peer=a%26b&reason=OK']))
})

t.test('requests of a waypoint are a line each: who, what, how it ended', async (t) => {
  const request = {
    ...{
      time: 'T',
      scope: 'request',
      reason: 'POLICY_DENY',
      method: 'GET',
      host: 'web',
      path: '/a',
      status: 403,
    },
    ...{ 'src.identity': 'spiffe://d/front', 'dst.service': 'web.shop.svc', duration_ms: 1.5 },
    ...{ policy: 'shop/no[0]', detail: 'a rule' },
  }
  const asked: string[] = []
  const { output } = await runCommand(plainFleet([node('n1', [request], asked)]), (io) =>
    tap(io, { ...NOTHING, path: '/a', status: '4xx', source: 'shop' }),
  )
  t.equal(
    output,
    'T  n1  spiffe://d/front  ->  web.shop.svc  GET  web/a  403  POLICY_DENY  1.5 ms  policy shop/no[0]  a rule\n',
  )
  t.same(asked, ['/tap?path=%2Fa&status=4xx&source=shop'])
})

t.test('one node that does not answer is told, all of them are an error', async (t) => {
  const gone: FleetNode = {
    ...node('n1', []),
    // biome-ignore lint/correctness/useYield: it fails before it has anything
    async *stream() {
      throw new CliError(EXIT_UNREACHABLE, 'n1 is gone')
    },
  }
  const { talk, code } = await runCommand(plainFleet([gone, node('n2', [])]), (io) => tap(io, NOTHING))
  t.equal(code, 0)
  t.match(talk, /n1 is gone\n/)
  t.match(talk, /n2 has ended\n/)
  await t.rejects(
    runCommand(plainFleet([gone]), (io) => tap(io, NOTHING)),
    { message: 'n1 is gone', exitCode: EXIT_UNREACHABLE },
  )
})
