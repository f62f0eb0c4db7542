// SPDX-License-Identifier: Apache-2.0
// Redirected datagrams and their original destination, in namespaces of their own.
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import t from 'tap'
import {
  AF_INET,
  AF_INET6,
  IPPROTO_IP,
  IPPROTO_IPV6,
  SO_MARK,
  SO_SNDBUF,
  SOL_SOCKET,
} from '../../mesh/reactor/ffi/constants.ts'
import { setsockopt } from '../../mesh/reactor/ffi/libc.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import { addAddress } from '../../mesh/reactor/netlink/addresses.ts'
import { NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkConnection } from '../../mesh/reactor/netlink/connection.ts'
import { ConnectionTable, originalDestination } from '../../mesh/reactor/netlink/conntrack.ts'
import * as nf from '../../mesh/reactor/netlink/nf-expressions.ts'
import { replaceTables } from '../../mesh/reactor/netlink/nf-tables.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { Reactor } from '../../mesh/reactor/reactor.ts'
import type { SocketAddress } from '../../mesh/reactor/socket-address.ts'
import { getIntOption, setMark, setTransparent } from '../../mesh/reactor/socket-options.ts'
import { openDatagramSocket, UdpSocket } from '../../mesh/reactor/udp-socket.ts'
import { createLab } from '../support/lab.ts'
import { runUntil } from '../support/reactor-pairs.ts'

const DNS_PORT = 15_053
const MESH_MARK = 0x539
const SPEC = {
  nodes: [
    { name: 'n1', pods: [{ name: 'a', ip: '10.1.0.2', ip6: 'fd00:1::2' }] },
    { name: 'n2', pods: [{ name: 'b', ip: '10.2.0.2', ip6: 'fd00:2::2' }] },
  ],
}

/** Questions of the pod itself to port 53, both families, land on the proxy; the proxy's own do not. */
function redirectQuestions(namespace: NetworkNamespace): void {
  const rule = [
    ...nf.matchPort('udp', 'destination', 53),
    ...nf.matchMark(MESH_MARK, 0xfff, true),
    ...nf.redirectTo(DNS_PORT),
  ]
  const base = { type: 'nat', hook: 'output', priority: -100, policy: 'accept' } as const
  NetlinkConnection.use(NETLINK_NETFILTER, namespace, (connection) => {
    replaceTables(connection, [{ family: 'inet', name: 'dns', chains: [{ name: 'o', base, rules: [rule] }] }])
  })
}

interface Heard {
  readonly peer: SocketAddress
  readonly local: SocketAddress
}

/** Asked so often, each time waited for so long. */
const [MAX_QUESTIONS, ANSWER_MS] = [5, 2000] as const

/** An echo server and a client in the pod; asks `target` and tells what either heard. */
function ask(
  namespace: NetworkNamespace,
  serverIp: string,
  target: SocketAddress,
): { server: Heard; client: Heard } {
  const reactor = new Reactor()
  let server: Heard | null = null
  let client: Heard | null = null
  const open = (ip: string, port: number): number => namespace.run(() => openDatagramSocket(ip, port))
  const answering = new UdpSocket(reactor, open(serverIp, DNS_PORT), {
    onDatagram({ block, start, end, peer, local }) {
      server = { peer, local }
      answering.send(block, start, end, peer, local)
    },
    onUndelivered() {},
  })
  const asking = new UdpSocket(reactor, open(target.ip.includes(':') ? '::' : '0.0.0.0', 0), {
    onDatagram: ({ peer, local }) => (client = { peer, local }),
    onUndelivered() {},
  })
  const block = allocateBlock(64)
  // Datagrams may be lost, and an IPv6 address is not its link's at once.
  for (let asked = 0; asked < MAX_QUESTIONS && client === null; asked++) {
    asking.send(block, 16, 40, target)
    runUntil(reactor, () => client !== null, ANSWER_MS)
  }
  asking.close()
  answering.close()
  reactor.runTurn(0)
  reactor.destroy()
  if (server === null || client === null) throw new Error(`no answer: ${JSON.stringify({ server, client })}`)
  return { server, client }
}

t.test(
  'the original destination of a redirected question is found, and its answer comes from there',
  async (t) => {
    const lab = createLab(t, SPEC)
    const { namespace } = lab.pod('a')
    redirectQuestions(namespace)
    const targets = [
      ['127.0.0.1', { ip: '10.2.0.2', port: 53 }],
      ['0.0.0.0', { ip: '203.0.113.9', port: 53 }],
      ['::1', { ip: 'fd00:2::2', port: 53 }],
      ['::', { ip: '10.2.0.2', port: 53 }],
    ] as const
    for (const [serverIp, target] of targets) {
      const { server, client } = ask(namespace, serverIp, target)
      t.same(
        originalDestination(namespace, server.local, server.peer),
        target,
        `${serverIp} asked for ${target.ip}`,
      )
      t.same(client.peer, target, 'the client sees whom it asked')
    }
  },
)

t.test('a question that nothing redirected is known as it was sent', async (t) => {
  const lab = createLab(t, SPEC)
  const { namespace } = lab.pod('a')
  redirectQuestions(namespace) // conntrack sees packets only where a rule needs it
  const { server } = ask(namespace, '127.0.0.1', { ip: '127.0.0.1', port: DNS_PORT })
  t.same(originalDestination(namespace, server.local, server.peer), { ip: '127.0.0.1', port: DNS_PORT })
})

t.test('what cannot be found is a refusal, and no descriptor stays open', async (t) => {
  const lab = createLab(t, SPEC)
  const { namespace } = lab.pod('a')
  const before = readdirSync('/proc/self/fd').length
  const peer = { ip: '10.1.0.2', port: 1234 }
  const local = { ip: '127.0.0.1', port: DNS_PORT }
  t.match(originalDestination(namespace, local, peer), {
    kind: 'refusal',
    code: 'NETLINK',
    detail: 'no such flow',
  })
  t.match(originalDestination(null, local, peer, { protocol: 'tcp' }), { kind: 'refusal' })
  t.match(originalDestination(namespace, local, { ip: '::1', port: 1 }), { kind: 'refusal', code: 'NETLINK' })
  t.match(originalDestination(namespace, local, peer, { zone: 7 }), { kind: 'refusal', code: 'NETLINK' })
  const table = new ConnectionTable(namespace)
  t.match(table.originalDestination(local, peer), { kind: 'refusal' })
  table.close()
  table.close()
  t.equal(readdirSync('/proc/self/fd').length, before)
})

t.test('a process that may not ask is refused and works on', async (t) => {
  const script = `
    const { originalDestination } = await import('./mesh/reactor/netlink/conntrack.ts')
    process.setuid(65534)
    const found = originalDestination(null, { ip: '127.0.0.1', port: 1 }, { ip: '127.0.0.1', port: 2 })
    console.log(found.kind, found.code)`
  // Without tap's preload, which would write its files as another user.
  const args = ['-i', process.execPath, '--input-type=module', '-e', script]
  const done = spawnSync('env', args, { encoding: 'utf8' })
  t.equal(done.stdout, 'refusal MISSING_CAPABILITY\n')
})

t.test('marks and foreign addresses are set before a datagram socket is bound', async (t) => {
  const lab = createLab(t, SPEC)
  const { namespace } = lab.pod('a')
  const reactor = new Reactor()
  for (const [ip, family, level, transparent] of [
    ['192.0.2.7', AF_INET, IPPROTO_IP, 19],
    ['2001:db8::7', AF_INET6, IPPROTO_IPV6, 75],
  ] as const) {
    const prepare = (fd: number, its: number): void => {
      t.equal(its, family)
      setMark(fd, MESH_MARK)
      setTransparent(fd, its)
    }
    const fd = namespace.run(() => openDatagramSocket(ip, 53, { prepare }))
    const socket = new UdpSocket(reactor, fd, { onDatagram() {}, onUndelivered() {} })
    t.equal(getIntOption(fd, SOL_SOCKET, SO_MARK), MESH_MARK)
    t.equal(getIntOption(fd, level, transparent), 1)
    t.same(socket.local, { ip, port: 53 })
    socket.close()
  }
  reactor.runTurn(0)
})

t.test('datagrams that the kernel has no room for are dropped and counted', async (t) => {
  const lab = createLab(t, SPEC)
  const node = lab.node('n1')
  const reactor = new Reactor()
  const small = allocateBlock(4)
  small.bytes.writeInt32LE(4608)
  const fd = node.namespace.run(() =>
    openDatagramSocket('0.0.0.0', 0, {
      prepare: (fd) => setsockopt(fd, SOL_SOCKET, SO_SNDBUF, small.address, 4),
    }),
  )
  const socket = new UdpSocket(reactor, fd, { onDatagram() {}, onUndelivered() {} })
  const block = allocateBlock(1100)
  // Nobody answers for this neighbour: what is sent waits for it, and counts against the send buffer.
  NetlinkConnection.use(NETLINK_ROUTE, node.namespace, (it) => addAddress(it, 'p1', '10.77.0.1/24'))
  const neighbour = { ip: '10.77.0.250', port: 9 }
  const outcomes = Array.from({ length: 30 }, () => socket.send(block, 16, 1016, neighbour))
  t.equal(outcomes[0], 'sent')
  t.equal(outcomes.at(-1), 'dropped')
  t.equal(socket.droppedCount, outcomes.filter((it) => it === 'dropped').length)
  socket.close()
  reactor.runTurn(0)
})
