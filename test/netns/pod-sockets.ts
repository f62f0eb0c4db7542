// SPDX-License-Identifier: Apache-2.0
// The sockets of a pod in its own namespace: those the supervisor listens on, and those its workers connect with.
import { openSync, readdirSync } from 'node:fs'
import { pino } from 'pino'
import t from 'tap'
import { DescriptorTable } from '../../mesh/reactor/descriptor-table.ts'
import * as c from '../../mesh/reactor/ffi/constants.ts'
import { close, connect } from '../../mesh/reactor/ffi/libc.ts'
import { NETLINK_ROUTE, NetlinkConnection } from '../../mesh/reactor/netlink/connection.ts'
import { setLinkUp } from '../../mesh/reactor/netlink/links.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { encodeSocketAddress } from '../../mesh/reactor/socket-address.ts'
import {
  DEFAULT_KEEPALIVE,
  getIntOption,
  localAddress,
  peerAddress,
} from '../../mesh/reactor/socket-options.ts'
import { PodDialer } from '../../ztunnel/carry/pod-dialer.ts'
import { readConfig, type ZtunnelConfig } from '../../ztunnel/config.ts'
import { EnrolledPods } from '../../ztunnel/supervisor/enroll/enrolled-pods.ts'
import { readRedirectRules } from '../../ztunnel/supervisor/enroll/redirect-rules.ts'
import { PodSockets } from '../../ztunnel/supervisor/pod-sockets.ts'
import { acceptFrom, connectFrom, createLab, listenIn } from '../support/lab.ts'
import { ManualClock } from '../support/manual-clock.ts'

const MESH_MARK = 0x539
const DNS_IPS: Readonly<Record<string, string>> = {
  'dns-tcp': '127.0.0.1',
  'dns-tcp6': '::1',
  'dns-udp': '127.0.0.1',
  'dns-udp6': '::1',
}
const DNS = Object.keys(DNS_IPS)
const SPEC = {
  nodes: [
    {
      name: 'n1',
      pods: [
        { name: 'a', ip: '10.1.0.2', ip6: 'fd00:1::2' },
        { name: 'b', ip: '10.1.0.3', ip6: 'fd00:1::3' },
      ],
    },
  ],
}
const PATHS = ['--config-file', 'x', '--enrolment-file', 'x', '--ca-directory', 'x']
const configOf = (...flags: string[]): ZtunnelConfig => readConfig([...PATHS, ...flags], {}).options
const podAt = (namespace: NetworkNamespace) => ({
  ...{ uid: 'u', name: 'b', namespace: 'shop', serviceAccount: 'b', address: null },
  netns: `/proc/self/fd/${namespace.fd}`,
})
const descriptors = (): readonly string[] => readdirSync('/proc/self/fd')
function keepaliveOf(fd: number): readonly number[] {
  return [
    getIntOption(fd, c.SOL_SOCKET, c.SO_KEEPALIVE),
    getIntOption(fd, c.IPPROTO_TCP, c.TCP_KEEPIDLE),
    getIntOption(fd, c.IPPROTO_TCP, c.TCP_KEEPINTVL),
    getIntOption(fd, c.IPPROTO_TCP, c.TCP_KEEPCNT),
  ]
}
const NO_RULES = { tables: [], markRules: [], routes: [] }
const KEEPALIVE_FLAGS = [
  '--keepalive-idle-seconds',
  '7',
  '--keepalive-interval-seconds',
  '3',
  '--keepalive-probes',
  '2',
]
const KEEPALIVE_OPTIONS = [1, 7, 3, 2]
const KEEPALIVE = [
  1,
  DEFAULT_KEEPALIVE.idleSeconds,
  DEFAULT_KEEPALIVE.intervalSeconds,
  DEFAULT_KEEPALIVE.probes,
]

t.test('enrolling opens marked listeners and writes the rules; un-enrolling leaves nothing', async (t) => {
  const network = createLab(t, SPEC)
  const { namespace } = network.pod('b')
  for (const [flags, kinds] of [
    [
      ['--dns-capture', 'false'],
      ['outbound', 'inbound', 'passthrough'],
    ],
    [[], ['outbound', 'inbound', 'passthrough', ...DNS]],
    [
      ['--socks5', 'true'],
      ['outbound', 'inbound', 'passthrough', 'socks5', ...DNS],
    ],
  ] as const) {
    const before = descriptors().length
    const sockets = PodSockets.open(podAt(namespace), configOf(...flags, ...KEEPALIVE_FLAGS))
    t.same([...sockets.listeners.keys()], kinds)
    for (const [kind, fd] of sockets.listeners) {
      t.equal(getIntOption(fd, c.SOL_SOCKET, c.SO_MARK), MESH_MARK, kind)
      t.equal(localAddress(fd)?.ip, kind === 'socks5' ? '127.0.0.1' : (DNS_IPS[kind] ?? '::'), kind)
      if (kind.startsWith('dns')) t.equal(localAddress(fd)?.port, 15_053)
    }
    t.ok(readRedirectRules(namespace).tables.length > 0, 'the rules are there')
    const client = connectFrom(network.pod('a').namespace, '10.1.0.3', 15_008)
    const accepted = acceptFrom(sockets.listeners.get('inbound') ?? -1)
    t.same(keepaliveOf(accepted), KEEPALIVE_OPTIONS, 'accepted connections inherit keepalive')
    for (const fd of [client, accepted]) close(fd)
    sockets.close()
    t.same(readRedirectRules(namespace), NO_RULES)
    t.equal(descriptors().length, before)
  }
})

t.test('a new pod may be enrolled before its loopback is up', async (t) => {
  const network = createLab(t, SPEC)
  const { namespace } = network.pod('b')
  const loopback = (isUp: boolean): void =>
    NetlinkConnection.use(NETLINK_ROUTE, namespace, (connection) => setLinkUp(connection, 'lo', isUp))
  loopback(false)
  const sockets = PodSockets.open(podAt(namespace), configOf())
  t.equal(sockets.findDrift(), null)
  t.same([...sockets.listeners.keys()], ['outbound', 'inbound', 'passthrough', ...DNS])
  loopback(true) // as whoever makes the pod does, sooner or later
  t.equal(sockets.findDrift(), null)
  sockets.close()
})

t.test('a pod changes its mind about its redirection under its listeners', async (t) => {
  const { namespace } = createLab(t, SPEC).pod('b')
  const pod = podAt(namespace)
  const tablesNow = (): readonly string[] => readRedirectRules(namespace).tables.map(({ name }) => name)
  const sockets = PodSockets.open(pod, configOf())
  const listeners = [...sockets.listeners.values()]
  t.ok(tablesNow().includes('sidestep-raw'))
  const optedOut = { ...pod, redirect: { isDnsCaptured: false } }
  t.ok(sockets.adopt(optedOut))
  t.notOk(tablesNow().includes('sidestep-raw'))
  t.equal(sockets.findDrift(), null)
  t.same(sockets.pod, optedOut)
  t.ok(sockets.adopt({ ...pod, redirect: { isInboundBypassed: true, virtualInterfaces: ['vm0'] } }))
  t.ok(tablesNow().includes('sidestep-raw'))
  t.equal(sockets.findDrift(), null)
  t.same([...sockets.listeners.values()], listeners, 'no listener was opened anew')
  t.notOk(sockets.adopt({ ...pod, name: 'another' }))
  sockets.close()
  t.same(readRedirectRules(namespace), NO_RULES)
  const without = PodSockets.open(pod, configOf('--dns-capture', 'false'))
  t.notOk(tablesNow().includes('sidestep-raw'))
  t.notOk(without.adopt({ ...pod, redirect: { isDnsCaptured: true } }), 'there are no listeners for it')
  t.notOk(tablesNow().includes('sidestep-raw'), 'and nothing has changed')
  without.close()
})

t.test('a pod whose rules are somebody else’s gets listeners only', async (t) => {
  const { namespace } = createLab(t, SPEC).pod('b')
  const sockets = PodSockets.open(podAt(namespace), configOf('--redirect', 'false', '--ipv6', 'false'))
  t.same(readRedirectRules(namespace), NO_RULES)
  for (const [kind, fd] of sockets.listeners) t.equal(localAddress(fd)?.ip, DNS_IPS[kind] ?? '0.0.0.0', kind)
  t.notOk(sockets.listeners.has('dns-udp6'), 'without IPv6')
  t.ok(sockets.listeners.has('dns-udp'), 'the other agent may capture DNS')
  sockets.close()
})

t.test('an enrolment that fails half-way leaves neither sockets nor rules', async (t) => {
  const { namespace } = createLab(t, SPEC).pod('b')
  const taken = listenIn(namespace, 15_006)
  const before = descriptors().length
  t.throws(() => PodSockets.open(podAt(namespace), configOf()), { code: 'PORT_TAKEN', detail: /in use/ })
  t.same(readRedirectRules(namespace), NO_RULES)
  t.equal(descriptors().length, before)
  const gone = { ...podAt(namespace), netns: '/run/netns/none' }
  t.throws(() => PodSockets.open(gone, configOf()), { code: 'NAMESPACE_GONE' })
  t.equal(descriptors().length, before)
  close(taken)
})

t.test('a namespace has one pod, by whatever path it is named', async (t) => {
  const network = createLab(t, SPEC)
  const [a, b] = [network.pod('a').namespace, network.pod('b').namespace]
  const first = PodSockets.open({ ...podAt(a), uid: 'u-a', name: 'a' }, configOf())
  const rules = readRedirectRules(a)
  const before = descriptors().length
  for (const netns of [`/proc/self/fd/${a.fd}`, a.path])
    t.throws(() => PodSockets.open({ ...podAt(a), netns }, configOf(), [first]), {
      code: 'NAMESPACE_SHARED',
      detail: `${netns} is the namespace of shop/a (u-a)`,
    })
  t.equal(descriptors().length, before)
  t.same(readRedirectRules(a), rules, 'the first one keeps its rules')
  const second = PodSockets.open(podAt(b), configOf(), [first])
  second.close()
  first.close()
})

t.test('datagrams leave from inside, marked, and come from their peer alone', async (t) => {
  const network = createLab(t, SPEC)
  const { namespace } = network.pod('b')
  const table = new DescriptorTable()
  const dialer = new PodDialer(namespace, table, DEFAULT_KEEPALIVE)
  for (const peer of [
    { ip: '10.1.0.2', port: 53 },
    { ip: 'fd00:1::2', port: 53 },
  ]) {
    const fd = dialer.openDatagrams(peer)
    t.same(peerAddress(fd), peer)
    t.equal(localAddress(fd)?.ip, peer.ip.includes(':') ? 'fd00:1::3' : '10.1.0.3')
    t.equal(getIntOption(fd, c.SOL_SOCKET, c.SO_MARK), MESH_MARK)
    t.notOk(table.has(fd), 'what was handed out is the caller’s')
    close(fd)
  }
  t.equal(table.list().length, 14, 'seven of each family are left')
  for (let used = 0; used < 4; used++) close(dialer.openDatagrams({ ip: '10.1.0.2', port: 53 }))
  dialer.replenish()
  t.equal(table.list().length, 3 + 8 + 7, 'the next ones are made before they are needed')
  dialer.replenish()
  t.equal(table.list().length, 3 + 8 + 7, 'and no more than that')
  dialer.close()
  t.same(table.list(), [])
  const homeless = new PodDialer(null, table, DEFAULT_KEEPALIVE)
  homeless.replenish()
  t.throws(() => homeless.openDatagrams({ ip: '10.1.0.2', port: 53 }), { code: 'NAMESPACE_GONE' })
})

t.test('a pod that an agent has handed over is redirected as it wishes, and stays enrolled', async (t) => {
  const { namespace } = createLab(t, SPEC).pod('b')
  const heard: string[] = []
  const pods = new EnrolledPods(configOf(), new ManualClock(), pino({ level: 'silent' }), {
    onAdded: ({ pod }) => heard.push(`added ${pod.uid}`),
    onRemoved: (uid) => heard.push(`removed ${uid}`),
    onReturned: ({ pod }) => heard.push(`returned ${pod.uid}`),
    onLeaving: (uid) => heard.push(`leaving ${uid}`),
    onKept: (uid) => heard.push(`kept ${uid}`),
    onMended: (uid) => heard.push(`mended ${uid}`),
  })
  const info = { uid: 'u', name: 'b', namespace: 'shop', serviceAccount: 'b' }
  const descriptor = (): number => openSync(namespace.path, 'r')
  const hasDns = (): boolean =>
    readRedirectRules(namespace).tables.some(({ name }) => name === 'sidestep-raw')
  t.equal(await pods.add(info, descriptor(), { isDnsCaptured: false }), null)
  t.notOk(hasDns())
  pods.redirect('u', null)
  t.ok(hasDns())
  t.equal(await pods.add(info, descriptor(), { isDnsCaptured: false }), null, 'the agent was away')
  t.notOk(hasDns())
  pods.redirect('another', null)
  await pods.checkDrift()
  t.same(heard, ['added u', 'kept u'])
  pods.close()
  t.same(readRedirectRules(namespace), NO_RULES)
})

t.test('connections are made inside, marked, kept alive, and show the source asked for', async (t) => {
  const network = createLab(t, SPEC)
  const { namespace } = network.pod('b')
  const listening = listenIn(namespace, 8080)
  const table = new DescriptorTable()
  const dialer = new PodDialer(namespace, table, DEFAULT_KEEPALIVE)
  for (const [ip, source, shown] of [
    ['10.1.0.3', null, '10.1.0.3'],
    ['10.1.0.3', '10.77.0.1', '10.77.0.1'],
    ['fd00:1::3', 'fd00:77::1', 'fd00:77::1'],
    ['10.1.0.3', 'fd00:77::1', '10.1.0.3'], // no address of the other family
  ] as const) {
    const fd = dialer.open(ip, source)
    t.notOk(table.list().includes(fd), 'what was handed out is the caller’s')
    t.equal(getIntOption(fd, c.SOL_SOCKET, c.SO_MARK), MESH_MARK)
    t.same(keepaliveOf(fd), KEEPALIVE)
    if (source === null || source === shown) {
      t.equal(localAddress(fd)?.ip, source ?? '0.0.0.0')
    }
    const address = encodeSocketAddress(ip, 8080)
    connect(fd, address.address, address.bytes)
    if (shown === '10.1.0.3') {
      const accepted = acceptFrom(listening)
      t.equal(peerAddress(accepted)?.ip, shown)
      close(accepted)
    }
    close(fd)
  }
  t.equal(table.list().length, 12, 'the rest of both batches')
  dialer.close()
  t.same(table.list(), [])
  close(listening)
})
