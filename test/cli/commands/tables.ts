// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { certs, conns, edges, logLevel, version } from '../../../cli/commands/tables.ts'
import { CliError } from '../../../cli/exit-codes.ts'
import { type FleetNode, plainFleet } from '../../../cli/fleet/fleet.ts'
import { runCommand } from '../../support/cli-run.ts'
import { NOW_MS, nodeView, paperNode, shopMesh } from '../../support/node-views.ts'

const CONNECTION = {
  ...{
    uid: 'u-front',
    direction: 'outbound',
    source: '10.1.0.1:4',
    destination: '10.96.0.10:80',
    protocol: 'HBONE',
  },
  ...{ peer: '10.2.0.1:15008', bytesSent: 1, bytesReceived: 2, ageMs: 1500 },
}
const CERTIFICATE = {
  ...{
    identity: 'spiffe://a/ns/b/sa/c',
    use: 'workload',
    state: 'Available',
    alarm: 'none',
    lastFailure: '',
  },
  certChain: [{ serialNumber: '7', expirationTime: new Date(NOW_MS + 36 * 3_600_000).toISOString() }],
  live: [
    { worker: 0, serialNumber: '7', isAlarm: false },
    { worker: 1, serialNumber: '6', isAlarm: false },
  ],
  tunnels: [{ count: 2 }, { count: 1 }],
}
const EDGE = {
  ...{ reporter: 'source', source: { namespace: 'shop', workload: 'front' }, destination: null, service: '' },
  ...{ isPlaintext: true, reason: 'OK', opened: 3, failed: 1, sentBytes: 10, receivedBytes: 20 },
}

/** A node with these pages; `posts` hears what it is told. */
function node(pages: Readonly<Record<string, unknown>>, posts: string[] = []): FleetNode {
  const about = { node: 'n1', version: { node: 'v24', model: 3 }, logLevel: 'info', pods: [1, 2] }
  return {
    ...paperNode(nodeView('n1', shopMesh())),
    read: async (path) => JSON.stringify({ '/node': about, ...pages }[path]),
    post: async (path) => `${posts.push(path)}`,
  }
}
const silent: FleetNode = {
  ...node({}),
  name: async () => {
    throw new CliError(3, 'n\u001b2 does not answer')
  },
}

t.test('one row for each, with the name of its node', async (t) => {
  const pages: Record<string, readonly object[]> = {
    '/connections': [CONNECTION],
    '/certificates': [CERTIFICATE],
    '/edges': [EDGE],
  }
  const fleet = plainFleet([node(pages)])
  const rows = async (command: Parameters<typeof runCommand>[1]) => (await runCommand(fleet, command)).output
  t.match(
    await rows(conns),
    /^n1 +outbound +10\.1\.0\.1:4 +10\.96\.0\.10:80 +mTLS +10\.2\.0\.1:15008 +1 +2 +1\.5$/m,
  )
  pages['/connections'] = [{ ...CONNECTION, drainingPid: 7 }]
  t.match(await rows(conns), /^n1 +outbound, draining +10\.1\.0\.1:4 +10\.96\.0\.10:80 /m)
  t.match(
    await rows(certs),
    /^n1 +spiffe:\/\/a\/ns\/b\/sa\/c +workload +Available +1\.5 +1 of 2 workers +3 +7$/m,
  )
  t.match(await rows(edges), /^n1 +source +shop\/front +- +- +plain +OK +3 +1 +10 +20$/m)
  t.match(await rows((io) => version(io, '1.2.3')), /^sidestep 1\.2\.3\n\nNODE.*\nn1 +v24 +3 +2$/m)
})

t.test('a certificate in trouble is an exit code', async (t) => {
  const code = async (change: object) =>
    (await runCommand(plainFleet([node({ '/certificates': [{ ...CERTIFICATE, ...change }] })]), certs)).code
  t.equal(await code({}), 0)
  t.equal(await code({ alarm: 'late' }), 1)
  t.equal(await code({ live: [{ worker: 0, serialNumber: '6', isAlarm: true }] }), 1)
})

t.test('a level is set at every node, and only one that there is', async (t) => {
  const posts: string[] = []
  const fleet = plainFleet([node({}, posts)])
  t.match((await runCommand(fleet, (io) => logLevel(io, undefined))).output, /^n1 +info$/m)
  t.strictSame(posts, [])
  await runCommand(fleet, (io) => logLevel(io, 'debug'))
  t.strictSame(posts, ['/logging?level=debug'])
  await t.rejects(
    runCommand(fleet, (io) => logLevel(io, 'debug&x')),
    { exitCode: 2, message: /is no level/ },
  )
})

t.test('who does not answer is told and left out; nobody is an error', async (t) => {
  const { output, talk, code } = await runCommand(
    plainFleet([silent, node({ '/connections': [] })]),
    conns,
    'json',
  )
  t.equal(code, 0)
  t.strictSame(JSON.parse(output), [{ node: 'n1', page: [] }])
  t.equal(talk, 'n\\u{1b}2 does not answer\n')
  await t.rejects(runCommand(plainFleet([silent]), conns), { exitCode: 3, message: /does not answer/ })
  await t.rejects(runCommand(plainFleet([]), conns), { exitCode: 3, message: 'there is no node to ask' })
})

t.test('JSON is exact, and still nothing a terminal would obey', async (t) => {
  const source = 'a\u001b\u009b\u202e\u2066b'
  const { output } = await runCommand(
    plainFleet([node({ '/connections': [{ ...CONNECTION, source }] })]),
    conns,
    'json',
  )
  t.notMatch(output, /[^\n\P{Cc}]|\p{Cf}/u)
  t.match(JSON.parse(output), [{ page: [{ source }] }])
})
