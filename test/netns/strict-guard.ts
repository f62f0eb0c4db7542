// SPDX-License-Identifier: Apache-2.0
// The guard of strict pods in a kernel: what it lets through, what it resets, counts and tells. The pods have no rules of
// their own here: somebody has flushed them. With whole processes: ztunnel-guard.ts.
import { execFileSync } from 'node:child_process'
import { type LogFn, pino } from 'pino'
import t, { type Test } from 'tap'
import { ALL_PORTS, NO_PORTS, otherPorts, type PortSet, portsOf } from '../../mesh/net/port-set.ts'
import { close, recvfrom, send } from '../../mesh/reactor/ffi/libc.ts'
import { addressOf, allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import { ProbeRules } from '../../ztunnel/supervisor/enroll/probe-rules.ts'
import { StrictGuard } from '../../ztunnel/supervisor/enroll/strict-guard.ts'
import { acceptFrom, connectFrom, createLab, listenIn } from '../support/lab.ts'
import { poll } from '../support/mesh-lab.ts'

const SPEC = {
  nodes: [
    { name: 'n1', pods: [{ name: 'a', ip: '10.1.0.2', ip6: 'fd00:1::2' }] },
    {
      name: 'n2',
      pods: [
        { name: 'b', ip: '10.2.0.2', ip6: 'fd00:2::2' },
        { name: 'c', ip: '10.2.0.3', ip6: 'fd00:2::3' },
      ],
    },
  ],
}
const POD_B = ['10.2.0.2', 'fd00:2::2']
const POD_C = ['10.2.0.3', 'fd00:2::3']
const REFUSED = -111

const NFT_WORDS = `
table inet sidestep-guard {
  set pods-v4 { type ipv4_addr; elements = { 10.2.0.2, 10.2.0.3 } }
  set pods-v6 { type ipv6_addr; elements = { fd00:2::2, fd00:2::3 } }
  chain refused {
    limit rate 50/second burst 100 packets log group 15008
    reject with tcp reset
  }
  chain to-v4 {
    tcp dport 15008 accept
    ip daddr 10.2.0.2 tcp dport 9001 return
    ip daddr 10.2.0.2 counter jump refused
    ip daddr 10.2.0.3 tcp dport 80 counter jump refused
  }
  chain to-v6 {
    tcp dport 15008 accept
    ip6 daddr fd00:2::2 tcp dport 9001 return
    ip6 daddr fd00:2::2 counter jump refused
    ip6 daddr fd00:2::3 tcp dport 80 counter jump refused
  }
  chain forward { type filter hook forward priority 10; policy accept;
    ip daddr @pods-v4 tcp flags & (syn | rst | ack) == syn jump to-v4
    ip6 daddr @pods-v6 tcp flags & (syn | rst | ack) == syn jump to-v6
  }
  chain output { type filter hook output priority 10; policy accept;
    meta skuid 0 accept
    ip daddr @pods-v4 tcp flags & (syn | rst | ack) == syn jump to-v4
    ip6 daddr @pods-v6 tcp flags & (syn | rst | ack) == syn jump to-v6
  }
}
`

const run = (namespace: NetworkNamespace, command: string, input = ''): string =>
  namespace.run(() => execFileSync('sh', ['-c', command], { encoding: 'utf8', input }))

/** What nft shows; chains in an order of their own. */
function nftView(namespace: NetworkNamespace): unknown {
  const list = JSON.parse(run(namespace, 'nft -j list ruleset'), (key, value: unknown) =>
    ['handle', 'packets', 'bytes', 'metainfo'].includes(key) ? undefined : value,
  ) as { nftables: { chain?: { name: string }; rule?: { chain: string } }[] } // as: nft's JSON
  return list.nftables.toSorted((one, other) => sortKey(one).localeCompare(sortKey(other)))
}
const sortKey = (each: { chain?: { name: string }; rule?: { chain: string } }): string =>
  each.rule !== undefined ? `2${each.rule.chain}` : each.chain !== undefined ? `1${each.chain.name}` : '0'

function openGuard(t: Test) {
  const lab = createLab(t, SPEC)
  const node = lab.node('n2').namespace
  const told: string[] = []
  const counted: Record<string, number> = {}
  const complaints: string[] = []
  const log = pino({
    hooks: {
      logMethod([fields]: Parameters<LogFn>) {
        complaints.push(JSON.stringify(fields))
      },
    },
  })
  const guard = new StrictGuard({
    ...{ path: node.path, clock: systemClock, log },
    listener: {
      onRefused: (uid, { source, destination }) =>
        told.push(`${uid} ${source.ip} ${destination.ip}:${destination.port}`),
      onCounted: (uid, count) => {
        counted[uid] = (counted[uid] ?? 0) + count
      },
    },
  })
  t.teardown(() => guard.close())
  const protect = (b: PortSet, c: PortSet = NO_PORTS): void => {
    guard.begin()
    guard.set('b', POD_B)
    guard.set('c', POD_C)
    guard.setClosed('b', b)
    guard.setClosed('c', c)
    guard.sync()
  }
  return { lab, node, guard, told, counted, complaints, protect }
}

t.test('nft shows the rules, and what somebody damages is mended', async (t) => {
  const { lab, node, guard, protect, complaints } = openGuard(t)
  protect(otherPorts(portsOf([9001])), portsOf([80]))
  const other = lab.node('n1').namespace
  run(other, 'nft -f -', NFT_WORDS)
  const wanted = nftView(other)
  t.same(nftView(node), wanted)
  const damage = [
    'nft delete table inet sidestep-guard',
    'nft flush chain inet sidestep-guard forward',
    'nft delete element inet sidestep-guard pods-v4 { 10.2.0.2 }',
    'nft insert rule inet sidestep-guard to-v6 accept',
    "nft 'chain inet sidestep-guard output { policy drop ; }'",
  ]
  for (const command of damage) {
    guard.sync() // nothing is wrong yet
    run(node, command)
    guard.sync()
    t.same(nftView(node), wanted, command)
  }
  guard.remove('b')
  t.notMatch(run(node, 'nft list ruleset'), /10\.2\.0\.2/)
  guard.setClosed('c', NO_PORTS)
  guard.sync()
  t.equal(run(node, 'nft list ruleset'), '', 'with the last strict pod everything goes')
  t.same(complaints, [])
})

t.test(
  'only tunnels and probes reach a strict pod, over either family, from wherever they come',
  async (t) => {
    const { lab, node, protect, told, counted, guard } = openGuard(t)
    const [a, b, c] = [lab.pod('a').namespace, lab.pod('b').namespace, lab.pod('c').namespace]
    const sockets = [8080, 15_008, 9001].map((port) => [port, listenIn(b, port)] as const)
    const listeners = new Map(sockets)
    const reaches = (from: NetworkNamespace, ip: string, port: number): boolean => {
      const client = connectFrom(from, ip, port)
      if (client < 0) {
        t.equal(client, REFUSED, `a reset, ${ip}:${port}`)
        return false
      }
      for (const fd of [client, acceptFrom(listeners.get(port) ?? -1)]) close(fd)
      return true
    }
    const table = (): Record<string, boolean> =>
      Object.fromEntries(
        POD_B.flatMap((ip) =>
          Object.entries({ a, c, node }).flatMap(([name, from]) =>
            [8080, 15_008, 9001].map((port) => [`${name} ${ip} ${port}`, reaches(from, ip, port)]),
          ),
        ),
      )
    const open = table()
    t.ok(Object.values(open).every(Boolean), 'without the guard all is reached')
    const before = connectFrom(a, POD_B[0] ?? '', 8080)
    const beforeFar = acceptFrom(listeners.get(8080) ?? -1)
    protect(otherPorts(portsOf([9001])))
    const guarded = table()
    const isOpen = (key: string): boolean => !key.endsWith('8080') || key.startsWith('node')
    t.same(guarded, Object.fromEntries(Object.keys(guarded).map((key) => [key, isOpen(key)])))
    await poll('all is told', () => told.length === 4 || null)
    t.same(told.toSorted(), [
      'b 10.1.0.2 10.2.0.2:8080',
      'b 10.2.0.3 10.2.0.2:8080',
      'b fd00:1::2 fd00:2::2:8080',
      'b fd00:2::3 fd00:2::2:8080',
    ])
    guard.sync()
    t.same(counted, { b: 4 })
    const asNobody = 'setpriv --reuid 65534 --clear-groups curl -sS -m 2 http://10.2.0.2:8080/ 2>&1 || true'
    t.match(run(node, asNobody), /Failed to connect/, 'what is not the kubelet’s on the node is no probe')
    t.ok(carries(before, beforeFar), 'what was open before goes on')
    const server = listenIn(a, 7000)
    const own = connectFrom(b, '10.1.0.2', 7000)
    t.ok(own > 0, 'and the pod opens connections of its own')
    for (const fd of [before, beforeFar, server, own, ...listeners.values()]) close(fd)
  },
)

t.test('a single closed port leaves the others open', async (t) => {
  const { lab, protect } = openGuard(t)
  const [a, c] = [lab.pod('a').namespace, lab.pod('c').namespace]
  const fds = [80, 81].map((port) => listenIn(c, port))
  protect(NO_PORTS, portsOf([80]))
  t.equal(connectFrom(a, '10.2.0.3', 80), REFUSED)
  const client = connectFrom(a, '10.2.0.3', 81)
  t.ok(client > 0)
  for (const fd of [...fds, client]) close(fd)
})

t.test('what was counted is not lost when the table is written anew, nor told twice', async (t) => {
  const { lab, node, protect, guard, counted } = openGuard(t)
  const a = lab.pod('a').namespace
  protect(ALL_PORTS)
  t.equal(connectFrom(a, '10.2.0.2', 80), REFUSED)
  guard.setClosed('c', ALL_PORTS)
  guard.sync()
  guard.sync()
  t.same(counted, { b: 1 })
  t.equal(connectFrom(a, '10.2.0.2', 80), REFUSED)
  t.equal(connectFrom(a, '10.2.0.3', 80), REFUSED)
  const next = new StrictGuard({
    ...{ path: node.path, clock: systemClock, log: pino({ level: 'silent' }) },
    listener: { onRefused: () => {}, onCounted: () => t.fail('what was there before is not its own') },
  })
  for (const [uid, ips] of [
    ['b', POD_B],
    ['c', POD_C],
  ] as const) {
    next.set(uid, ips)
    next.setClosed(uid, ALL_PORTS)
  }
  next.sync()
  t.equal(run(node, 'nft list ruleset').match(/counter packets 1/g)?.length, 2, 'it waits')
  next.begin()
  next.sync()
  next.sync()
  guard.sync()
  guard.suspend()
  guard.forget()
  guard.sync()
  t.match(run(node, 'nft list ruleset'), 'sidestep-guard', 'who has handed over leaves it alone')
  t.same(counted, { b: 2, c: 1 })
})

t.test('who comes second listens when the first has gone', async (t) => {
  const { lab, node, protect, guard, told } = openGuard(t)
  protect(ALL_PORTS)
  const heard: string[] = []
  const complaints: unknown[] = []
  const next = new StrictGuard({
    ...{ path: node.path, clock: systemClock },
    log: pino({ hooks: { logMethod: ([fields]: Parameters<LogFn>) => void complaints.push(fields) } }),
    listener: { onRefused: (uid) => heard.push(uid), onCounted: () => {} },
  })
  t.teardown(() => next.close())
  next.begin()
  next.set('b', POD_B)
  next.setClosed('b', ALL_PORTS)
  next.sync()
  t.match(complaints, [{ reason: 'NETLINK', detail: /another listens/ }])
  t.equal(connectFrom(lab.pod('a').namespace, '10.2.0.2', 80), REFUSED)
  await poll('the first hears it', () => told.length === 1 || null)
  guard.close()
  next.sync()
  t.equal(connectFrom(lab.pod('a').namespace, '10.2.0.2', 80), REFUSED)
  await poll('the second hears it', () => heard.length === 1 || null)
})

t.test('a flood is counted, and told in part', async (t) => {
  const { lab, guard, protect, told, counted } = openGuard(t)
  protect(ALL_PORTS)
  const a = lab.pod('a').namespace
  for (let index = 0; index < 2_000; index++) if (connectFrom(a, '10.2.0.2', 80) !== REFUSED) t.fail('open')
  guard.sync()
  t.equal(counted.b, 2_000)
  await poll('some are told', () => told.length > 0 || null)
  t.ok(told.length < 1_000, `${told.length}`)
})

t.test('two hundred strict pods of both families fit; what does not fit is complained of', async (t) => {
  const { node, guard, complaints } = openGuard(t)
  guard.begin()
  const add = (index: number): void => {
    const hex = (index + 1).toString(16)
    guard.set(`u${index}`, [`10.9.${index >> 8}.${index & 255}`, `fd00:9:ffff:ffff:ffff:ffff:ffff:${hex}`])
    guard.setClosed(`u${index}`, ALL_PORTS)
  }
  for (let index = 0; index < 200; index++) add(index)
  guard.sync()
  t.equal(run(node, 'nft list ruleset').match(/counter/g)?.length, 400)
  t.same(complaints, [])
  add(200)
  guard.sync()
  t.equal(run(node, 'nft list ruleset').match(/counter/g)?.length, 400, 'the others keep theirs')
  t.match(complaints[0], /LIMIT_NODE.*1 pods, the first is u200/)
})

t.test('a namespace that is not there harms nobody', async (t) => {
  const complaints: string[] = []
  const log = pino({
    hooks: { logMethod: ([fields]: Parameters<LogFn>) => void complaints.push(JSON.stringify(fields)) },
  })
  const listener = { onRefused: () => {}, onCounted: () => {} }
  const guard = new StrictGuard({ path: '/run/netns/none', clock: systemClock, log, listener })
  guard.begin()
  guard.set('b', POD_B)
  guard.setClosed('b', ALL_PORTS)
  guard.sync()
  guard.sync()
  t.equal(complaints.length, 2, 'no table, nobody listens: each said once')
  for (const each of complaints) t.match(each, 'NAMESPACE_GONE')
})

t.test('beside the guard, probes are told apart as before', async (t) => {
  const { lab, node, protect } = openGuard(t)
  protect(ALL_PORTS)
  const probes = new ProbeRules(node.path, pino({ level: 'silent' }))
  t.teardown(() => probes.close())
  probes.set('b', POD_B)
  const app = listenIn(lab.pod('b').namespace, 8080)
  const client = connectFrom(node, '10.2.0.2', 8080)
  t.ok(client > 0)
  for (const fd of [app, client]) close(fd)
})

/** Bytes go from one end to the other and are acknowledged there. */
function carries(near: number, far: number): boolean {
  const bytes = Buffer.from('more')
  const sent = send(near, addressOf(bytes), bytes.length, 0)
  const room = allocateBlock(16)
  return sent === 4 && recvfrom(far, room.address, 16, 0, 0, 0) === 4
}
