// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import t from 'tap'
import { addAddress, deleteAddress, listAddresses } from '../../mesh/reactor/netlink/addresses.ts'
import { NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkConnection } from '../../mesh/reactor/netlink/connection.ts'
import {
  createLink,
  createVethPair,
  deleteLink,
  findLink,
  listLinks,
  moveLink,
  renameLink,
  setLinkMaster,
  setLinkUp,
} from '../../mesh/reactor/netlink/links.ts'
import * as nf from '../../mesh/reactor/netlink/nf-expressions.ts'
import { listTables, type NfTable, readTable, replaceTables } from '../../mesh/reactor/netlink/nf-tables.ts'
import {
  addMarkRule,
  addRoute,
  deleteMarkRule,
  deleteRoute,
  listMarkRules,
  listRoutes,
} from '../../mesh/reactor/netlink/routes.ts'
import { NetworkNamespace } from '../../mesh/reactor/netns.ts'

interface Ends {
  readonly here: NetworkNamespace
  readonly there: NetworkNamespace
  readonly connection: NetlinkConnection
}
function open(t: { teardown(action: () => void): void }): Ends {
  const [here, there] = [NetworkNamespace.create(), NetworkNamespace.create()]
  const connection = NetlinkConnection.open(NETLINK_ROUTE, here)
  t.teardown(() => {
    connection.close()
    here.close()
    there.close()
  })
  return { here, there, connection }
}
interface IpJson {
  readonly [key: string]: unknown
}
const ip = (namespace: NetworkNamespace, ...args: string[]): IpJson[] =>
  JSON.parse(namespace.run(() => execFileSync('ip', ['-j', ...args], { encoding: 'utf8' })) || '[]')

t.test('links are created, moved, renamed and deleted as ip shows them', async (t) => {
  const { here, there, connection } = open(t)
  createVethPair(connection, 'v0', { name: 'eth0', namespace: there })
  createVethPair(connection, 'v1', { name: 'v2' })
  t.match(ip(there, '-d', 'link', 'show', 'eth0'), [{ linkinfo: { info_kind: 'veth' } }])
  setLinkUp(connection, 'v0')
  t.match(findLink(connection, 'v0'), { name: 'v0', kind: 'veth', isUp: true, mtu: 1500 })
  t.ok(String(ip(here, 'link', 'show', 'v0')[0]?.flags).includes('UP'))
  setLinkUp(connection, 'v0', false)
  t.equal(findLink(connection, 'v0')?.isUp, false)
  renameLink(connection, 'v1', 'w1')
  moveLink(connection, 'v2', there)
  t.match(ip(there, 'link', 'show', 'v2'), [{ ifname: 'v2' }])
  createLink(connection, 'br0', 'bridge')
  setLinkMaster(connection, 'w1', 'br0')
  t.match(ip(here, 'link', 'show', 'w1'), [{ master: 'br0' }])
  t.equal(findLink(connection, 'w1')?.masterIndex, findLink(connection, 'br0')?.index)
  const names = (links: readonly { name?: string; ifname?: unknown }[]) =>
    links.map((it) => it.name ?? it.ifname)
  t.same(names(listLinks(connection)), names(ip(here, 'link', 'show')))
  t.same(
    listLinks(connection).map((link) => link.mac),
    ip(here, 'link', 'show').map((link) => link.address),
  )
  deleteLink(connection, 'v0')
  deleteLink(connection, 'v0')
  t.equal(findLink(connection, 'v0'), null)
  t.same(names(ip(there, 'link', 'show')), ['lo', 'v2'], 'the other end went with it')
})

t.test('addresses and routes are what ip shows', async (t) => {
  const { here, there, connection } = open(t)
  createVethPair(connection, 'v0', { name: 'v0', namespace: there })
  setLinkUp(connection, 'lo')
  setLinkUp(connection, 'v0')
  NetlinkConnection.use(NETLINK_ROUTE, there, (other) => setLinkUp(other, 'v0'))
  for (const address of ['10.9.0.1/24', 'fd09::1/64', '10.9.0.1/24']) addAddress(connection, 'v0', address)
  const mine = listAddresses(connection).filter((it) => it.ip === '10.9.0.1' || it.ip === 'fd09::1')
  t.match(mine, [{ prefixLength: 24 }, { prefixLength: 64, isTentative: false }])
  const shown = ip(here, 'addr', 'show', 'v0')[0]?.addr_info
  t.match(shown, [
    { local: '10.9.0.1', prefixlen: 24, scope: 'global' },
    { local: 'fd09::1', nodad: true },
  ])
  const routes = [
    { destination: '0.0.0.0/0', gateway: '10.9.0.2' },
    { destination: '::/0', gateway: 'fd09::2' },
    { destination: '10.8.0.0/16', link: 'v0', source: '10.9.0.1' },
    { destination: '192.0.2.1', link: 'v0', gateway: '169.254.1.1', isOnlink: true },
    { destination: '192.0.2.0/24', type: 'blackhole' },
    { destination: '10.7.0.0/16', gateway: '10.9.0.3', table: 1000 },
  ] as const
  for (const route of routes) addRoute(connection, route)
  for (const route of routes) addRoute(connection, route)
  t.match(ip(here, 'route', 'show'), [
    { dst: 'default', gateway: '10.9.0.2', dev: 'v0' },
    { dst: '10.8.0.0/16', prefsrc: '10.9.0.1', scope: 'link' },
    { dst: '10.9.0.0/24' },
    { type: 'blackhole', dst: '192.0.2.0/24' },
    { dst: '192.0.2.1', gateway: '169.254.1.1', flags: ['onlink'] },
  ])
  t.match(ip(here, 'route', 'show', 'table', '1000'), [{ dst: '10.7.0.0/16', gateway: '10.9.0.3' }])
  t.match(listRoutes(connection, 1000), [
    { destination: '10.7.0.0/16', gateway: '10.9.0.3', type: 'unicast' },
  ])
  t.ok(listRoutes(connection).some((it) => it.destination === '::/0' && it.gateway === 'fd09::2'))
  for (const route of [...routes, ...routes]) deleteRoute(connection, route)
  t.same(
    ip(here, 'route', 'show').map((route) => route.dst),
    ['10.9.0.0/24'],
  )
  for (let i = 0; i < 2; i++) deleteAddress(connection, 'v0', '10.9.0.1/24')
  t.equal(
    listAddresses(connection).some((it) => it.ip === '10.9.0.1'),
    false,
  )
})

t.test('rules choose a table by mark', async (t) => {
  const { here, connection } = open(t)
  const rules = ([4, 6] as const).map((family) => ({
    family,
    mark: 0x111,
    mask: 0xfff,
    priority: 32_764,
    table: 100,
  }))
  for (const rule of [...rules, ...rules]) addMarkRule(connection, rule)
  t.same(listMarkRules(connection), rules)
  for (const family of ['-4', '-6']) {
    t.match(ip(here, family, 'rule')[1], { priority: 32_764, fwmark: '0x111', fwmask: '0xfff', table: '100' })
  }
  for (const rule of [...rules, ...rules]) deleteMarkRule(connection, rule)
  t.same(listMarkRules(connection), [])
})

t.test("the kernel's sentence is in the error", async (t) => {
  const { connection } = open(t)
  t.throws(() => addRoute(connection, { destination: '10.0.0.0/8', gateway: '192.0.2.1' }), {
    code: 'NETLINK',
    detail: /add route 10\.0\.0\.0\/8: .*unreachable.*: Nexthop has invalid gateway/i,
  })
  t.throws(() => setLinkUp(connection, 'none'), { code: 'NETLINK', detail: /find link none: No such device/ })
  t.throws(() => createVethPair(connection, 'a'.repeat(16), { name: 'b' }), { code: 'NETLINK' })
})

t.test('a large dump arrives whole', async (t) => {
  const { connection } = open(t)
  setLinkUp(connection, 'lo')
  for (let i = 0; i < 1500; i++) {
    addRoute(connection, { destination: `10.${i >> 8}.${i & 255}.0/24`, type: 'blackhole', table: 7 })
  }
  t.equal(listRoutes(connection, 7).length, 1500)
})

t.test('tables are replaced whole, counters and foreign tables are seen', async (t) => {
  const { here } = open(t)
  const connection = NetlinkConnection.open(NETLINK_NETFILTER, here)
  t.teardown(() => connection.close())
  here.run(() =>
    execFileSync('nft', ['add table ip foreign; add chain ip foreign c; add rule ip foreign c log']),
  )
  const rules = Array.from({ length: 600 }, (_, i) => [
    ...nf.matchPort('tcp', 'destination', i + 1),
    ...nf.count(),
    ...nf.decide('drop'),
  ])
  const base = { type: 'filter', hook: 'input', priority: 5, policy: 'drop' } as const
  const table: NfTable = { family: 'inet', name: 'many', chains: [{ name: 'c', base, rules }] }
  replaceTables(connection, [table])
  const read = readTable(connection, table)
  t.same(
    read?.chains.map((chain) => [chain.name, chain.base, chain.rules.map((rule) => rule.expressions)]),
    [['c', base, rules]],
  )
  t.same(read?.chains[0]?.rules[0]?.counters, { packets: 0, bytes: 0 })
  replaceTables(connection, [{ ...table, chains: [] }])
  t.same(readTable(connection, table), { ...table, chains: [] })
  t.match(readTable(connection, { family: 'ip', name: 'foreign' })?.chains[0]?.rules[0], {
    expressions: [{ kind: 'unknown', name: 'log' }],
    counters: null,
  })
  t.same(
    listTables(connection).map((it) => it.name),
    ['foreign', 'many'],
  )
  t.equal(readTable(connection, { family: 'inet', name: 'none' }), null)
})

t.test('a process without the capability is told so', async (t) => {
  const script = `
    const { NetlinkConnection } = await import('./mesh/reactor/netlink/connection.ts')
    const { createVethPair } = await import('./mesh/reactor/netlink/links.ts')
    const { replaceTables } = await import('./mesh/reactor/netlink/nf-tables.ts')
    process.setuid(65534)
    for (const [protocol, act] of [
      [0, (it) => createVethPair(it, 'v0', { name: 'v1' })],
      [12, (it) => replaceTables(it, [{ family: 'inet', name: 't', chains: [] }])],
    ]) {
      try { NetlinkConnection.use(protocol, null, act); console.log('done') } catch (e) { console.log(e.code) }
    }`
  const done = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
  })
  t.equal(done.stdout, 'MISSING_CAPABILITY\nMISSING_CAPABILITY\n')
})

t.test('no descriptor stays open', async (t) => {
  const before = readdirSync('/proc/self/fd').length
  const namespace = NetworkNamespace.create()
  NetlinkConnection.use(NETLINK_ROUTE, namespace, listLinks)
  t.throws(() => NetlinkConnection.use(NETLINK_ROUTE, namespace, (it) => setLinkUp(it, 'none')))
  namespace.close()
  t.equal(readdirSync('/proc/self/fd').length, before)
})
