// SPDX-License-Identifier: Apache-2.0
// The resource of one service, from everything that is claimed of it. Pure.
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import {
  type RouteListSchema,
  type ServiceRoutes,
  ServiceRoutesSchema,
} from '../../../proto/generated/sidestep/v1/routes_pb.js'
import type { ServiceInfo } from '../service-info.ts'
import { type Choice, type Claim, choose, groupPorts, type Outcome } from './claims.ts'
import { compareEntries, type RankedEntry } from './precedence.ts'
import type { HttpRuleInit, TcpRuleInit } from './route-part.ts'

/** Matches in all lists of one service; of what is beyond, the ports are closed rather than left open. */
export const MAX_SERVICE_MATCHES = 100_000

/** What a service comes to. */
export interface ServiceResult {
  /** null: its traffic goes to it as it is. */
  readonly message: ServiceRoutes | null
  /** Of every claim. */
  readonly outcomes: ReadonlyMap<Claim, Outcome>
  /** Ports that are closed because there are too many matches. */
  readonly closedPorts: readonly number[]
}

type RouteListInit = Exclude<MessageInitShape<typeof RouteListSchema>, { readonly $typeName: string }>

/** `claims`: the oldest first, of hosts the nearest first. */
export function serviceRoutes(
  info: ServiceInfo,
  claims: readonly Claim[],
  maxMatches = MAX_SERVICE_MATCHES,
): ServiceResult {
  const outcomes = new Map<Claim, Outcome>()
  const ports: { port: number; lists: RouteListInit[] }[] = []
  const closedPorts: number[] = []
  let left = maxMatches
  for (const [index, group] of groupPorts(info, claims).entries()) {
    const port = group.ports[0] ?? 0
    const consumers = [...new Set(group.claims.map(({ consumer }) => consumer))].toSorted(consumersFirst)
    const lists = consumers.flatMap((consumer) => {
      const own = group.claims.filter((claim) => claim.consumer === consumer)
      const choice = choose(own, { protocol: group.protocol, port }, outcomes)
      if (choice === null) return []
      const list = listOf(choice, port, consumer)
      left -= Math.max(list.size, 1)
      if (left >= 0) return [list.init]
      closedPorts.push(...group.ports)
      return [closedList(choice, consumer)]
    })
    if (index === 0) {
      if (lists.length > 0) ports.push({ port: 0, lists })
      // Who is not named has the lists of the first group, so that the others are named even with nothing.
    } else if (lists.length > 0 || (ports[0]?.port === 0 && ports.length > 0))
      for (const each of group.ports) ports.push({ port: each, lists })
  }
  const hasLists = ports.some(({ lists }) => lists.length > 0)
  const message = hasLists ? create(ServiceRoutesSchema, { service: info.key, ports }) : null
  return { message, outcomes, closedPorts }
}

/** '' stands for everybody and comes last. */
function consumersFirst(left: string, right: string): number {
  if (left === '' || right === '') return left === right ? 0 : left === '' ? 1 : -1
  return left < right ? -1 : 1
}

interface SizedList {
  readonly init: RouteListInit
  readonly size: number
}

function listOf({ form, claims }: Choice, port: number, consumerNamespace: string): SizedList {
  if (form !== 'http') {
    const rules = claims.flatMap(({ part }) => tcpRules(part[form], port))
    return {
      init: { consumerNamespace, routes: { case: 'tcp', value: { rules: byServerName(rules) } } },
      size: rules.length,
    }
  }
  const rules: HttpRuleInit[] = []
  const ranked: (RankedEntry & { readonly base: number })[] = []
  for (const [route, { part }] of claims.entries()) {
    const base = rules.length
    for (const rule of part.rules) rules.push(rule)
    for (const [order, entry] of part.entries.entries())
      if (entry.port === 0 || entry.port === port) ranked.push({ entry, route, order, base })
  }
  const entries = ranked
    .toSorted(compareEntries)
    .map(({ entry, base }) => ({ match: entry.match, rule: base + entry.rule }))
  return {
    init: { consumerNamespace, routes: { case: 'http', value: { rules, entries } } },
    size: entries.length,
  }
}

function tcpRules(parts: Claim['part']['tcp'], port: number): TcpRuleInit[] {
  return parts.filter((each) => each.port === 0 || each.port === port).map(({ rule }) => rule)
}

/** SPEC GATEWAY-API TLSRoute: the most specific server name; else in order. Rules of several names stand under each. */
function byServerName(rules: readonly TcpRuleInit[]): TcpRuleInit[] {
  if (rules.every(({ serverNames = [] }) => serverNames.length === 0)) return [...rules]
  return rules
    .flatMap((rule, order) => {
      const { serverNames = [] } = rule
      const names = serverNames.length === 0 ? [''] : serverNames
      return names.map((name) => ({ rule: { ...rule, serverNames: name === '' ? [] : [name] }, name, order }))
    })
    .toSorted((left, right) => weightOf(right.name) - weightOf(left.name) || left.order - right.order)
    .map(({ rule }) => rule)
}

/** Exact names before wildcards, longer wildcards before shorter ones, everything last. */
function weightOf(name: string): number {
  if (name === '') return 0
  return name.startsWith('*') ? name.length : EXACT
}

const EXACT = 1_000

function closedList({ form, claims }: Choice, consumerNamespace: string): RouteListInit {
  const broken = 'the service has too many routes'
  const rule = claims[0]?.part.rules[0]?.origin
  const origin = rule === undefined ? {} : { origin: rule }
  return form === 'http'
    ? {
        consumerNamespace,
        routes: {
          case: 'http',
          value: { rules: [{ ...origin, broken }], entries: [{ match: {}, rule: 0 }] },
        },
      }
    : {
        consumerNamespace,
        routes: { case: 'tcp', value: { rules: [{ backends: [{ weight: 1, broken }] }] } },
      }
}
