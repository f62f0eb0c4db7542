// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { Socket } from 'node:net'
import t from 'tap'
import { close } from '../../mesh/reactor/ffi/libc.ts'
import { addAddress } from '../../mesh/reactor/netlink/addresses.ts'
import { NETLINK_ROUTE, NetlinkConnection } from '../../mesh/reactor/netlink/connection.ts'
import { jumpTo } from '../../mesh/reactor/netlink/nf-expressions.ts'
import { withoutState } from '../../mesh/reactor/netlink/nf-tables.ts'
import { VirtualNetwork } from '../../mesh/reactor/netlink/virtual-network.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { originalDestination, peerAddress } from '../../mesh/reactor/socket-options.ts'
import {
  applyRedirectRules,
  findRuleDrift,
  PROBE_IP,
  PROBE_IP6,
  readRedirectRules,
  redirectRules,
  removeRedirectRules,
} from '../../ztunnel/supervisor/enroll/redirect-rules.ts'
import { acceptFrom, type ConnectOptions, connectFrom, createLab, listenIn } from '../support/lab.ts'

const SPEC = {
  nodes: [
    { name: 'n1', pods: [{ name: 'a', ip: '10.1.0.2', ip6: 'fd00:1::2' }] },
    { name: 'n2', pods: [{ name: 'b', ip: '10.2.0.2', ip6: 'fd00:2::2' }] },
  ],
}
const descriptors = (): readonly string[] => readdirSync('/proc/self/fd')
const textIn = (namespace: NetworkNamespace, command: string): string =>
  namespace.run(() => execFileSync('sh', ['-c', command], { encoding: 'utf8' }))

// The rules in nft's own words, from the table of the specification.
const NFT_WORDS = `
table inet sidestep-mangle {
  chain prerouting { type filter hook prerouting priority -150; policy accept;
    meta mark & 0xfff == 0x539 counter ct mark set ct mark & 0xfffff111 | 0x111
  }
  chain output { type route hook output priority -150; policy accept;
    ct mark & 0xfff == 0x111 counter meta mark set ct mark
  }
}
table inet sidestep-nat {
  chain prerouting { type nat hook prerouting priority -100; policy accept;
    ip saddr 169.254.7.127 meta l4proto tcp counter accept
    ip6 saddr fd16:9254:7127:1337:ffff:ffff:ffff:ffff meta l4proto tcp counter accept
    ip daddr != 127.0.0.1 tcp dport != 15008 tcp flags & (syn | rst | ack) == syn meta mark & 0xfff != 0x539 counter redirect to :15006
    ip6 daddr != ::1 tcp dport != 15008 tcp flags & (syn | rst | ack) == syn meta mark & 0xfff != 0x539 counter redirect to :15006
  }
  chain output { type nat hook output priority -100; policy accept;
    ip daddr 169.254.7.127 meta l4proto tcp counter accept
    ip6 daddr fd16:9254:7127:1337:ffff:ffff:ffff:ffff meta l4proto tcp counter accept
    meta nfproto ipv4 oifname != "lo" udp dport 53 meta mark & 0xfff != 0x539 counter redirect to :15053
    ip daddr != 127.0.0.1 tcp dport 53 tcp flags & (syn | rst | ack) == syn meta mark & 0xfff != 0x539 counter redirect to :15053
    meta nfproto ipv6 oifname != "lo" udp dport 53 meta mark & 0xfff != 0x539 counter redirect to :15053
    ip6 daddr != ::1 tcp dport 53 tcp flags & (syn | rst | ack) == syn meta mark & 0xfff != 0x539 counter redirect to :15053
    meta l4proto tcp meta mark & 0xfff == 0x111 counter accept
    ip daddr != 127.0.0.1 oifname "lo" counter accept
    ip6 daddr != ::1 oifname "lo" counter accept
    ip daddr != 127.0.0.1 tcp flags & (syn | rst | ack) == syn meta mark & 0xfff != 0x539 counter redirect to :15001
    ip6 daddr != ::1 tcp flags & (syn | rst | ack) == syn meta mark & 0xfff != 0x539 counter redirect to :15001
  }
}
table inet sidestep-zone {
  chain output { type filter hook output priority -300; policy accept;
    meta l4proto tcp meta mark & 0xfff == 0x539 counter ct original zone set 1
  }
}
table inet sidestep-raw {
  chain prerouting { type filter hook prerouting priority -300; policy accept;
    udp sport 53 meta mark & 0xfff != 0x539 counter ct zone set 1
  }
  chain output { type filter hook output priority -300; policy accept;
    udp dport 53 meta mark & 0xfff == 0x539 counter ct zone set 1
  }
}
`

/** What nft sees, without handles and counts. */
function nftView(namespace: NetworkNamespace): unknown {
  return JSON.parse(textIn(namespace, 'nft -j list ruleset'), (key, value: unknown) =>
    ['handle', 'packets', 'bytes', 'metainfo'].includes(key) ? undefined : value,
  )
}

/** Connects, and tells who got the connection with which original destination. */
function reach(
  from: NetworkNamespace,
  ip: string,
  port: number,
  listener: number,
  options: ConnectOptions = {},
): { readonly original: unknown; readonly peer: string | undefined } {
  const client = connectFrom(from, ip, port, options)
  if (client < 0) return { original: `errno ${-client}`, peer: undefined }
  const accepted = acceptFrom(listener)
  const found = { original: originalDestination(accepted, ip), peer: peerAddress(accepted)?.ip }
  close(accepted)
  close(client)
  return found
}

t.test('nft shows the rules of the specification, and the kernel gives back what was written', async (t) => {
  const lab = createLab(t, SPEC)
  const [a, b] = [lab.pod('a').namespace, lab.pod('b').namespace]
  const rules = redirectRules({ dnsFamilies: [4, 6] })
  applyRedirectRules(a, rules)
  b.run(() => execFileSync('nft', ['-f', '-'], { input: NFT_WORDS }))
  t.same(nftView(a), nftView(b))
  const installed = readRedirectRules(a)
  t.same(installed.tables.map(withoutState), rules.tables)
  t.same(installed.markRules, rules.markRules)
  t.match(textIn(a, 'ip rule; ip -6 rule'), /(32764:\s+from all fwmark 0x111\/0xfff lookup 100[\s\S]*){2}/)
  t.match(textIn(a, 'ip route show table 100; ip -6 route show table 100'), /(local default dev lo .*\s*){2}/)
})

t.test('applying twice changes nothing, and removing leaves nothing', async (t) => {
  const lab = createLab(t, SPEC)
  const namespace = lab.pod('a').namespace
  const before = [nftView(namespace), textIn(namespace, 'ip rule; ip route show table all | sort')]
  const [rules, lessRules] = [
    redirectRules({ dnsFamilies: [4] }),
    redirectRules({ isInboundBypassed: true, hasIpv6: false }),
  ]
  applyRedirectRules(namespace, lessRules)
  t.same(readRedirectRules(namespace).tables.map(withoutState), lessRules.tables)
  t.match(findRuleDrift(namespace, rules), /table sidestep-(nat|raw)/)
  applyRedirectRules(namespace, rules)
  t.match(findRuleDrift(namespace, lessRules), 'table sidestep-')
  const once = nftView(namespace)
  applyRedirectRules(namespace, rules)
  t.same(nftView(namespace), once)
  t.same(readRedirectRules(namespace).markRules, rules.markRules)
  removeRedirectRules(namespace)
  removeRedirectRules(namespace)
  t.same([nftView(namespace), textIn(namespace, 'ip rule; ip route show table all | sort')], before)
})

t.test('rules for DNS that should not be there any more are found', async (t) => {
  const { namespace } = createLab(t, SPEC).pod('a')
  const without = redirectRules()
  applyRedirectRules(namespace, redirectRules({ dnsFamilies: [4, 6] }))
  applyRedirectRules(namespace, without)
  t.equal(findRuleDrift(namespace, without), null)
  textIn(namespace, 'nft add table inet sidestep-raw')
  t.equal(findRuleDrift(namespace, without), 'table sidestep-raw does not belong here')
  applyRedirectRules(namespace, without)
  t.equal(findRuleDrift(namespace, without), null)
})

t.test('a rule set that the kernel refuses leaves the old one, counts included', async (t) => {
  const lab = createLab(t, SPEC)
  const namespace = lab.pod('a').namespace
  applyRedirectRules(namespace, redirectRules())
  const before = textIn(namespace, 'nft list ruleset')
  const rules = redirectRules({ isInboundBypassed: true })
  const broken = {
    ...rules,
    tables: [
      ...rules.tables,
      { family: 'inet', name: 'x', chains: [{ name: 'c', base: null, rules: [jumpTo('none')] }] } as const,
    ],
  }
  t.throws(() => applyRedirectRules(namespace, broken), { code: 'NETLINK' })
  t.equal(textIn(namespace, 'nft list ruleset'), before)
})

t.test('what a pod opens lands on 15001 with its original destination', async (t) => {
  const lab = createLab(t, SPEC)
  const a = lab.pod('a').namespace
  applyRedirectRules(a, redirectRules())
  const listener = listenIn(a, 15_001)
  t.same(reach(a, '10.2.0.2', 8080, listener).original, { ip: '10.2.0.2', port: 8080 })
  t.same(reach(a, '203.0.113.9', 443, listener).original, { ip: '203.0.113.9', port: 443 })
  t.same(reach(a, 'fd00:2::2', 8080, listener).original, { ip: 'fd00:2::2', port: 8080 })
  t.same(reach(a, '2001:db8::1', 443, listener).original, { ip: '2001:db8::1', port: 443 })
  const counted = readRedirectRules(a).tables[1]?.chains.find((chain) => chain.name === 'output')
  t.ok((counted?.rules.at(-1)?.counters?.packets ?? 0) > 0, 'the rule has counted')
  close(listener)
})

t.test(
  'what was open before goes on, in both directions, and what is opened next is redirected',
  async (t) => {
    const lab = createLab(t, SPEC)
    const [a, b] = [lab.pod('a').namespace, lab.pod('b').namespace]
    const listener = listenIn(b, 8080)
    const client = new Socket({ fd: connectFrom(a, '10.2.0.2', 8080) })
    const server = new Socket({ fd: acceptFrom(listener) })
    const carry = async (from: Socket, to: Socket): Promise<string> => {
      from.write('x')
      const [bytes] = await once(to, 'data', { signal: AbortSignal.timeout(5000) })
      return `${bytes}`
    }
    for (const namespace of [a, b]) applyRedirectRules(namespace, redirectRules())
    t.equal(await carry(client, server), 'x')
    t.equal(await carry(server, client), 'x')
    t.ok(connectFrom(a, '10.2.0.2', 8080) < 0, 'nothing listens on 15001')
    for (const namespace of [a, b]) removeRedirectRules(namespace)
    t.equal(await carry(client, server), 'x')
    for (const socket of [client, server]) socket.destroy()
    close(listener)
  },
)

t.test("the mesh's own connections are not redirected", async (t) => {
  const lab = createLab(t, SPEC)
  const [a, b] = [lab.pod('a').namespace, lab.pod('b').namespace]
  applyRedirectRules(a, redirectRules())
  const listener = listenIn(b, 8080)
  for (const [ip, peer] of [
    ['10.2.0.2', '10.1.0.2'],
    ['fd00:2::2', 'fd00:1::2'],
  ] as const) {
    t.same(reach(a, ip, 8080, listener, { mark: 0x539 }), { original: null, peer }, ip)
  }
  t.ok(connectFrom(a, '10.2.0.2', 8080) < 0, 'while others are: nothing listens on 15001')
  close(listener)
})

t.test('plaintext that arrives lands on 15006, HBONE and probes where they wanted', async (t) => {
  const lab = createLab(t, SPEC)
  const [a, b, n2] = [lab.pod('a').namespace, lab.pod('b').namespace, lab.node('n2').namespace]
  applyRedirectRules(b, redirectRules())
  const plain = listenIn(b, 15_006)
  const hbone = listenIn(b, 15_008)
  const app = listenIn(b, 8080)
  t.same(reach(a, '10.2.0.2', 8080, plain), { original: { ip: '10.2.0.2', port: 8080 }, peer: '10.1.0.2' })
  t.same(reach(a, 'fd00:2::2', 81, plain), { original: { ip: 'fd00:2::2', port: 81 }, peer: 'fd00:1::2' })
  t.equal(reach(a, '10.2.0.2', 15_008, hbone).peer, '10.1.0.2')
  t.equal(reach(a, 'fd00:2::2', 15_008, hbone).peer, 'fd00:1::2')
  NetlinkConnection.use(NETLINK_ROUTE, n2, (connection) => {
    addAddress(connection, 'lo', `${PROBE_IP}/32`)
    addAddress(connection, 'lo', `${PROBE_IP6}/128`)
  })
  t.equal(reach(n2, '10.2.0.2', 8080, app, { source: PROBE_IP }).peer, PROBE_IP)
  t.equal(reach(n2, 'fd00:2::2', 8080, app, { source: PROBE_IP6 }).peer, PROBE_IP6)
  for (const fd of [plain, hbone, app]) close(fd)
})

t.test('an application that talks to its own address or to loopback is left alone', async (t) => {
  const lab = createLab(t, SPEC)
  const a = lab.pod('a').namespace
  applyRedirectRules(a, redirectRules())
  const app = listenIn(a, 8080)
  for (const ip of ['10.1.0.2', 'fd00:1::2', '127.0.0.1', '::1']) {
    const found = reach(a, ip, 8080, app)
    t.equal(found.peer, ip)
    t.notMatch(found.original, { port: 15_001 })
  }
  close(app)
})

t.test('the mesh reaches the application with the address of the client', async (t) => {
  const lab = createLab(t, SPEC)
  const b = lab.pod('b').namespace
  applyRedirectRules(b, redirectRules())
  const app = listenIn(b, 8080)
  for (const [ip, source] of [
    ['10.2.0.2', '10.1.0.2'],
    ['fd00:2::2', 'fd00:1::2'],
  ] as const) {
    t.equal(reach(b, ip, 8080, app, { mark: 0x539, source }).peer, source)
  }
  close(app)
})

t.test(
  'a client’s port that the mesh has used, or uses, in its name is free for the client itself',
  async (t) => {
    const lab = createLab(t, SPEC)
    const [a, b] = [lab.pod('a').namespace, lab.pod('b').namespace]
    applyRedirectRules(b, redirectRules())
    const [app, plain] = [listenIn(b, 8080), listenIn(b, 15_006)]
    for (const [ip, source] of [
      ['10.2.0.2', '10.1.0.2'],
      ['fd00:2::2', 'fd00:1::2'],
    ] as const) {
      const [mesh, client] = [{ mark: 0x539, source }, { source }]
      t.equal(reach(b, ip, 8080, app, { ...mesh, sourcePort: 40_001 }).peer, source)
      const original = { ip, port: 8080 }
      t.same(
        reach(a, ip, 8080, plain, { ...client, sourcePort: 40_001 }),
        { original, peer: source },
        'after it',
      )
      t.equal(
        reach(b, ip, 8080, app, { ...mesh, sourcePort: 40_001 }).peer,
        source,
        'and the other way round',
      )
      const open = connectFrom(b, ip, 8080, { ...mesh, sourcePort: 40_002 })
      t.same(
        reach(a, ip, 8080, plain, { ...client, sourcePort: 40_002 }),
        { original, peer: source },
        'beside it',
      )
      close(open)
      close(acceptFrom(app))
      const first = connectFrom(a, ip, 8080, { ...client, sourcePort: 40_003 })
      t.equal(
        reach(b, ip, 8080, app, { ...mesh, sourcePort: 40_003 }).peer,
        source,
        'the mesh beside a client',
      )
      close(first)
      close(acceptFrom(plain))
    }
    close(app)
    close(plain)
  },
)

t.test('nothing of it leaves a descriptor open', async (t) => {
  applyThenRemove() // opens what a thread keeps for its life
  const before = descriptors()
  applyThenRemove()
  t.same(descriptors().length, before.length)
})

function applyThenRemove(): void {
  const network = VirtualNetwork.create(SPEC)
  const namespace = network.pod('a').namespace
  applyRedirectRules(namespace, redirectRules())
  readRedirectRules(namespace)
  removeRedirectRules(namespace)
  network.close()
}
