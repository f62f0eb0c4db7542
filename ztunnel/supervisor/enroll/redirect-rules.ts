// SPDX-License-Identifier: Apache-2.0
// How a pod's TCP reaches the mesh: nf_tables rules and policy routes inside the pod's network namespace. What they
// are is a pure function; putting them there is one transaction, repeated without harm.
// SPEC HBONE §5.2: marks, ports, matches and their order are those of Istio's in-pod redirection (nftables flavour);
// the tables are ours, so both can be told apart.
import { existsSync, readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { reasonOfOpen } from '../../../mesh/errors/errno.ts'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { DNS_PORT, HBONE_PORT, INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT } from '../../../mesh/net/mesh-ports.ts'
import {
  NETLINK_NETFILTER,
  NETLINK_ROUTE,
  NetlinkConnection,
} from '../../../mesh/reactor/netlink/connection.ts'
import {
  count,
  decide,
  type Expressions,
  matchConnectionMark,
  matchFamily,
  matchInterface,
  matchIp,
  matchL4Protocol,
  matchMark,
  matchPort,
  matchTcpStart,
  redirectTo,
  restoreMark,
  setConnectionMark,
  setConnectionZone,
} from '../../../mesh/reactor/netlink/nf-expressions.ts'
import {
  deleteTables,
  type InstalledTable,
  type NfBase,
  type NfTable,
  type NfTableName,
  readGeneration,
  readTable,
  replaceTables,
  withoutState,
} from '../../../mesh/reactor/netlink/nf-tables.ts'
import {
  addMarkRule,
  addRoute,
  deleteMarkRule,
  deleteRoute,
  type IpFamily,
  listMarkRules,
  listRoutes,
  type MarkRule,
  type Route,
  type RouteSpec,
} from '../../../mesh/reactor/netlink/routes.ts'
import type { NetworkNamespace } from '../../../mesh/reactor/netns.ts'
import type { PodRedirect } from './pod-redirect.ts'

/** Mark of the mesh's own sockets: never redirected. */
export const MESH_MARK = 0x539
/** Mark of connections whose answers must come back to the mesh although their address is a client's. */
export const RETURN_MARK = 0x111
export const MARK_MASK = 0xfff
export const RETURN_TABLE = 100
export const RETURN_PRIORITY = 32_764
/** The kubelet's probes come from here (the host rewrites their source): they pass without the mesh. */
export const PROBE_IP = '169.254.7.127'
export const PROBE_IP6 = 'fd16:9254:7127:1337:ffff:ffff:ffff:ffff'
export const NAT_TABLE = 'sidestep-nat'
export const MANGLE_TABLE = 'sidestep-mangle'
export const ZONE_TABLE = 'sidestep-zone'
export const RAW_TABLE = 'sidestep-raw'

/** All there may be. */
const TABLES = [MANGLE_TABLE, NAT_TABLE, ZONE_TABLE, RAW_TABLE]

const NAT_PRIORITY = -100
const MANGLE_PRIORITY = -150
const RAW_PRIORITY = -300
/** Where resolvers listen: only such questions are captured. */
const RESOLVER_PORT = 53
/** Zone of the mesh's own connections and questions: they must not be taken for those that they are made for. */
const MESH_ZONE = 1

/** What is redirected, and for which families of addresses. */
export interface RedirectOptions extends Omit<PodRedirect, 'isDnsCaptured'> {
  /** False leaves IPv6 alone: for pods that have none. */
  readonly hasIpv6?: boolean
  /** DNS questions of these families come to the mesh; of others they go where they were sent. None unless given. */
  readonly dnsFamilies?: readonly IpFamily[]
}

/** Everything that a pod's namespace needs. */
export interface RuleSet {
  readonly tables: readonly NfTable[]
  readonly markRules: readonly MarkRule[]
  readonly routes: readonly RouteSpec[]
}

/** What a pod's namespace has. */
export interface InstalledRuleSet {
  readonly tables: readonly InstalledTable[]
  readonly markRules: readonly MarkRule[]
  readonly routes: readonly Route[]
}

interface FamilyAddresses {
  readonly family: IpFamily
  readonly loopback: string
  readonly probe: string
  readonly everything: string
}
const IPV4: FamilyAddresses = { family: 4, loopback: '127.0.0.1', probe: PROBE_IP, everything: '0.0.0.0/0' }
const IPV6: FamilyAddresses = { family: 6, loopback: '::1', probe: PROBE_IP6, everything: '::/0' }

const tcp = matchL4Protocol('tcp')
/**
 * Only the start of a connection is redirected. Before a namespace has rules its kernel tracks no connections: the next packet
 * of each that is open is new to it, and would be sent to a socket that knows nothing of it.
 */
const isStart = matchTcpStart()
const isMesh = matchMark(MESH_MARK, MARK_MASK)
const isNotMesh = matchMark(MESH_MARK, MARK_MASK, true)

function rule(...parts: readonly Expressions[]): Expressions {
  return parts.flat()
}

function base(type: NfBase['type'], hook: NfBase['hook'], priority: number): NfBase {
  return { type, hook, priority, policy: 'accept' }
}

/** The rules of one pod. */
export function redirectRules(options: RedirectOptions = {}): RuleSet {
  const families = options.hasIpv6 === false ? [IPV4] : [IPV4, IPV6]
  const hasDns = (options.dnsFamilies ?? []).length > 0
  return {
    tables: [mangleTable(), natTable(families, options), zoneTable(), ...(hasDns ? [rawTable()] : [])],
    markRules: families.map(({ family }) => ({
      family,
      mark: RETURN_MARK,
      mask: MARK_MASK,
      priority: RETURN_PRIORITY,
      table: RETURN_TABLE,
    })),
    routes: families.map(({ everything }) => ({
      destination: everything,
      link: 'lo',
      table: RETURN_TABLE,
      type: 'local',
    })),
  }
}

/** Connections that the mesh opens with a client's address: their answers are marked, and routed to the mesh. */
function mangleTable(): NfTable {
  const mark = rule(isMesh, count(), setConnectionMark(RETURN_MARK, MARK_MASK))
  const restore = rule(matchConnectionMark(RETURN_MARK, MARK_MASK), count(), restoreMark())
  return {
    family: 'inet',
    name: MANGLE_TABLE,
    chains: [
      { name: 'prerouting', base: base('filter', 'prerouting', MANGLE_PRIORITY), rules: [mark] },
      // A route chain: the mark decides the route again.
      { name: 'output', base: base('route', 'output', MANGLE_PRIORITY), rules: [restore] },
    ],
  }
}

/**
 * The mesh opens connections in the name of clients, which open others from the same port when they are not in the mesh, or not
 * yet, or no more: what such connections have in common must not make them one. Answers differ, and so need no zone.
 */
function zoneTable(): NfTable {
  const zone = rule(tcp, isMesh, count(), setConnectionZone(MESH_ZONE, 'original'))
  return {
    family: 'inet',
    name: ZONE_TABLE,
    chains: [{ name: 'output', base: base('filter', 'output', RAW_PRIORITY), rules: [zone] }],
  }
}

/** The mesh's own questions and their answers are tracked apart from those of the pod. */
function rawTable(): NfTable {
  const zone = setConnectionZone(MESH_ZONE)
  const question = rule(matchPort('udp', 'destination', RESOLVER_PORT), isMesh, count(), zone)
  const answer = rule(matchPort('udp', 'source', RESOLVER_PORT), isNotMesh, count(), zone)
  return {
    family: 'inet',
    name: RAW_TABLE,
    chains: [
      { name: 'prerouting', base: base('filter', 'prerouting', RAW_PRIORITY), rules: [answer] },
      { name: 'output', base: base('filter', 'output', RAW_PRIORITY), rules: [question] },
    ],
  }
}

/** Questions of the pod to any resolver outside of it. */
function dnsRules(family: IpFamily): readonly Expressions[] {
  const { loopback } = family === 4 ? IPV4 : IPV6
  const redirect = rule(isNotMesh, count(), redirectTo(DNS_PORT))
  return [
    rule(
      matchFamily(family),
      matchInterface('out', 'lo', true),
      matchPort('udp', 'destination', RESOLVER_PORT),
      redirect,
    ),
    rule(
      matchIp('destination', loopback, true),
      matchPort('tcp', 'destination', RESOLVER_PORT),
      isStart,
      redirect,
    ),
  ]
}

function natTable(families: readonly FamilyAddresses[], options: RedirectOptions): NfTable {
  return {
    family: 'inet',
    name: NAT_TABLE,
    chains: [
      {
        name: 'prerouting',
        base: base('nat', 'prerouting', NAT_PRIORITY),
        rules: inboundRules(families, options),
      },
      { name: 'output', base: base('nat', 'output', NAT_PRIORITY), rules: outboundRules(families, options) },
    ],
  }
}

function inboundRules(families: readonly FamilyAddresses[], options: RedirectOptions): Expressions[] {
  const rules: Expressions[] = []
  for (const name of options.virtualInterfaces ?? []) {
    rules.push(rule(matchInterface('in', name), tcp, isStart, count(), redirectTo(OUTBOUND_PORT)))
    rules.push(rule(matchInterface('in', name), count(), decide('return')))
  }
  if (options.isInboundBypassed === true) return rules
  for (const { probe } of families) rules.push(rule(matchIp('source', probe), tcp, count(), decide('accept')))
  for (const { loopback } of families) {
    rules.push(
      rule(
        matchIp('destination', loopback, true),
        matchPort('tcp', 'destination', HBONE_PORT, true),
        isStart,
        isNotMesh,
        count(),
        redirectTo(INBOUND_PLAINTEXT_PORT),
      ),
    )
  }
  return rules
}

function outboundRules(families: readonly FamilyAddresses[], options: RedirectOptions): Expressions[] {
  const rules: Expressions[] = []
  for (const { probe } of families) {
    rules.push(rule(matchIp('destination', probe), tcp, count(), decide('accept')))
  }
  for (const family of options.dnsFamilies ?? []) rules.push(...dnsRules(family))
  rules.push(rule(tcp, matchMark(RETURN_MARK, MARK_MASK), count(), decide('accept')))
  for (const { loopback } of families) {
    // The application talks to its own address: neither outbound nor, since the packet was decided on here, inbound.
    rules.push(
      rule(matchIp('destination', loopback, true), matchInterface('out', 'lo'), count(), decide('accept')),
    )
  }
  for (const { loopback } of families) {
    rules.push(
      rule(
        matchIp('destination', loopback, true),
        tcp,
        isStart,
        isNotMesh,
        count(),
        redirectTo(OUTBOUND_PORT),
      ),
    )
  }
  return rules
}

/**
 * Makes a pod's namespace what `ruleSet` says. Older tables of ours are replaced in one transaction, so no packet
 * sees a state between; doing it twice changes nothing. @throws NETLINK, NAMESPACE_GONE, MISSING_CAPABILITY
 */
export function applyRedirectRules(namespace: NetworkNamespace, ruleSet: RuleSet): void {
  const { routes, markRules } = routingOf(namespace, ruleSet)
  NetlinkConnection.use(NETLINK_ROUTE, namespace, (connection) => {
    for (const route of routes) addRoute(connection, route)
    for (const markRule of markRules) addMarkRule(connection, markRule)
  })
  // Last: from here on packets are redirected.
  NetlinkConnection.use(NETLINK_NETFILTER, namespace, (connection) => {
    replaceTables(connection, ruleSet.tables, absentTables(ruleSet))
  })
}

/** Tables of ours that are not of this set, but perhaps of the one before. */
function absentTables({ tables }: RuleSet): readonly NfTableName[] {
  const absent = TABLES.filter((name) => !tables.some((table) => table.name === name))
  return absent.map((name) => ({ family: 'inet', name }))
}

/**
 * What of `ruleSet` is not there as applyRedirectRules left it, in a few words for people; null when all is. Counters and
 * rules of others do not matter. `areTablesWhole`: nobody has touched tables since they were looked at, so only
 * routing is. @throws NETLINK, NAMESPACE_GONE
 */
export function findRuleDrift(
  namespace: NetworkNamespace,
  ruleSet: RuleSet,
  areTablesWhole = false,
): string | null {
  return (areTablesWhole ? null : findTableDrift(namespace, ruleSet)) ?? findRoutingDrift(namespace, ruleSet)
}

/** Another number after every change of any table there: whoever kept it need not read them. @throws NETLINK, NAMESPACE_GONE */
export function readRuleGeneration(namespace: NetworkNamespace): number | null {
  return NetlinkConnection.use(NETLINK_NETFILTER, namespace, readGeneration)
}

function findTableDrift(namespace: NetworkNamespace, ruleSet: RuleSet): string | null {
  const installed = readRedirectRules(namespace)
  for (const table of ruleSet.tables) {
    const found = installed.tables.find(({ name }) => name === table.name)
    if (found === undefined) return `table ${table.name} is gone`
    if (!isDeepStrictEqual(withoutState(found), table)) return `table ${table.name} was changed`
  }
  for (const { name } of absentTables(ruleSet))
    if (installed.tables.some((found) => found.name === name)) return `table ${name} does not belong here`
  return null
}

function findRoutingDrift(namespace: NetworkNamespace, ruleSet: RuleSet): string | null {
  const installed = readRouting(namespace)
  const { routes, markRules } = routingOf(namespace, ruleSet)
  for (const wanted of markRules)
    if (!installed.markRules.some((found) => isDeepStrictEqual(found, wanted)))
      return `the rule for mark ${RETURN_MARK} is gone (IPv${wanted.family})`
  for (const { destination } of routes)
    if (!installed.routes.some((found) => found.destination === destination && found.type === 'local'))
      return `the route ${destination} of table ${RETURN_TABLE} is gone`
  return null
}

/** Routes and mark rules of the families that the namespace has. */
function routingOf(namespace: NetworkNamespace, ruleSet: RuleSet): Pick<RuleSet, 'routes' | 'markRules'> {
  if (namespace.run(hasLoopbackIpv6)) return ruleSet
  return {
    routes: ruleSet.routes.filter(({ destination }) => !destination.includes(':')),
    markRules: ruleSet.markRules.filter(({ family }) => family === 4),
  }
}

/**
 * Redirects nobody any more, and leaves alone who was: the chains stay, without rules. Without any chain of that type the kernel
 * would stop translating the packets of connections that it has redirected. @throws NETLINK, NAMESPACE_GONE
 */
export function removeRedirection(namespace: NetworkNamespace): void {
  const table = natTable([], {})
  const chains = table.chains.map((chain) => ({ ...chain, rules: [] }))
  NetlinkConnection.use(NETLINK_NETFILTER, namespace, (connection) => {
    replaceTables(connection, [{ ...table, chains }])
  })
}

/** Takes away what applyRedirectRules put there. What is gone already is fine. @throws NETLINK, NAMESPACE_GONE */
export function removeRedirectRules(namespace: NetworkNamespace): void {
  const ruleSet = redirectRules()
  NetlinkConnection.use(NETLINK_NETFILTER, namespace, (connection) => {
    const tables = TABLES.map((name): NfTableName => ({ family: 'inet', name }))
    deleteTables(connection, tables)
  })
  NetlinkConnection.use(NETLINK_ROUTE, namespace, (connection) => {
    const present = listMarkRules(connection)
    const isOurs = (it: MarkRule): boolean => it.priority === RETURN_PRIORITY && it.table === RETURN_TABLE
    for (const markRule of present.filter(isOurs)) deleteMarkRule(connection, markRule)
    const routes = listRoutes(connection, RETURN_TABLE).filter((route) => route.type === 'local')
    for (const route of ruleSet.routes) {
      if (routes.some((it) => it.destination === route.destination)) deleteRoute(connection, route)
    }
  })
}

/** What the namespace has now, with counters: for the drift check and for people. @throws NETLINK, NAMESPACE_GONE */
export function readRedirectRules(namespace: NetworkNamespace): InstalledRuleSet {
  const tables = NetlinkConnection.use(NETLINK_NETFILTER, namespace, (connection) =>
    TABLES.map((name) => readTable(connection, { family: 'inet', name })),
  )
  return { tables: tables.filter((table) => table !== null), ...readRouting(namespace) }
}

function readRouting(namespace: NetworkNamespace): Pick<InstalledRuleSet, 'markRules' | 'routes'> {
  return NetlinkConnection.use(NETLINK_ROUTE, namespace, (connection) => ({
    markRules: listMarkRules(connection),
    routes: listRoutes(connection, RETURN_TABLE),
  }))
}

/**
 * Runs inside the namespace: its /proc/sys/net shows the settings of the namespace of the thread that looks.
 * @throws OUT_OF_DESCRIPTORS, SYSTEM_CALL
 */
export function hasLoopbackIpv6(): boolean {
  const path = '/proc/sys/net/ipv6/conf/lo/disable_ipv6'
  if (!existsSync(path)) return false
  try {
    return readFileSync(path, 'latin1').trim() === '0'
  } catch (cause) {
    throw new MeshError(reasonOfOpen(cause) ?? 'SYSTEM_CALL', { detail: path, cause })
  }
}
