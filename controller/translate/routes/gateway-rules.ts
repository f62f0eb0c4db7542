// SPDX-License-Identifier: Apache-2.0
// The rules of routes of the Gateway API. A rule that cannot be acted on as it is written answers 500: what it was for is not
// left to the rules after it.
import { Fields } from '../fields.ts'
import { stableHash } from '../stable-hash.ts'
import { readBackend } from './gateway-backends.ts'
import { filterConflict, GRPC_FILTERS, HTTP_FILTERS, readGatewayFilters } from './gateway-filters.ts'
import { readGrpcMatches, readHttpMatches } from './gateway-matches.ts'
import type { EntryPart, HttpRuleInit, RouteReading, RulesPart, TcpPart } from './route-part.ts'
import { durationMs, gatewayDuration, MAX_ATTEMPTS_ASKED } from './route-values.ts'

const RULE_FIELDS = ['name', 'matches', 'filters', 'backendRefs', 'sessionPersistence']
const SESSION_TYPES = ['Cookie', 'Header'] as const
const LIFETIMES = ['Permanent', 'Session'] as const
/** SPEC GATEWAY-API HTTPRouteRetry: unset is an implementation's choice; as Istio. */
const DEFAULT_ATTEMPTS = 2

type Rules = Pick<RulesPart, 'rules' | 'entries' | 'tcp' | 'tls' | 'refused'>

/** Rules of an HTTPRoute or GRPCRoute. */
export function readGatewayHttpRules(
  spec: Fields,
  kind: 'HTTPRoute' | 'GRPCRoute',
  reading: RouteReading,
): Rules {
  const rules: HttpRuleInit[] = []
  const entries: EntryPart[] = []
  const isHttp = kind === 'HTTPRoute'
  let refused = 0
  let first = ''
  for (const [index, rule] of rulesOf(spec).entries()) {
    const before = reading.mistakes
    const matches = (isHttp ? readHttpMatches : readGrpcMatches)(rule, reading)
    reading.allow(rule, isHttp ? [...RULE_FIELDS, 'timeouts', 'retry'] : RULE_FIELDS)
    const known = isHttp ? HTTP_FILTERS : GRPC_FILTERS
    const filters = readGatewayFilters(rule, known, reading)
    const isOnlyPrefixes = matches.every(({ match }) => match.path?.kind?.case === 'prefix')
    const conflict = filterConflict(filters, isOnlyPrefixes)
    if (conflict !== null) reading.notes.add('INVALID_VALUE', rule.pathOf('filters'), conflict, 'remove one')
    const settings = {
      ...timeoutsOf(rule),
      ...retryOf(rule),
      ...sessionOf(rule, reading, index),
    }
    const isBroken = reading.mistakes > before
    const backends = rule.items('backendRefs').map((ref) => {
      return readBackend(ref, reading, (owner) => readGatewayFilters(owner, known, reading))
    })
    const origin = originOf(reading, rule, index)
    if (isBroken) {
      refused++
      first ||= `rule ${index} cannot be acted on as it is written`
    }
    rules.push(isBroken ? { origin, broken: REFUSED } : { origin, backends, filters, ...settings })
    for (const { match, rank } of matches) entries.push({ match, rank, rule: index, port: 0 })
  }
  return { rules, entries, tcp: [], tls: [], refused: { count: refused, of: rules.length, first } }
}

/** SPEC GATEWAY-API HTTPRouteSpec.rules: unset, there is one for everything. */
function rulesOf(spec: Fields): Fields[] {
  return spec.raw('rules') === undefined
    ? [new Fields({}, spec.pathOf('rules'), spec.notes)]
    : spec.items('rules')
}

/** What the answer says. */
export const REFUSED = 'the rule cannot be acted on as it is written; the findings of the route say why'

/** Rules of a TCPRoute or TLSRoute. `serverNames`: of the whole route. */
export function readGatewayTcpRules(
  spec: Fields,
  reading: RouteReading,
  serverNames: readonly string[],
): { readonly parts: TcpPart[]; readonly refused: RulesPart['refused'] } {
  let count = 0
  const parts = spec.items('rules').map((rule, index) => {
    const before = reading.mistakes
    reading.allow(rule, ['name', 'backendRefs'])
    const isBroken = reading.mistakes > before
    if (isBroken) count++
    const backends = isBroken
      ? [{ weight: 1, broken: REFUSED }]
      : rule.items('backendRefs').map((ref) => readBackend(ref, reading, null))
    return {
      rule: { origin: originOf(reading, rule, index), serverNames: [...serverNames], backends },
      port: 0,
    }
  })
  return { parts, refused: { count, of: parts.length, first: count === 0 ? '' : REFUSED } }
}

export function originOf({ object }: RouteReading, rule: Fields, index: number): HttpRuleInit['origin'] {
  const { kind, metadata } = object
  return { kind, namespace: metadata.namespace, name: metadata.name, rule: rule.text('name'), index }
}

function timeoutsOf(rule: Fields): Pick<HttpRuleInit, 'timeouts'> {
  if (rule.raw('timeouts') === undefined) return {}
  const fields = rule.fields('timeouts')
  const request = gatewayDuration(fields, 'request')
  const backendRequest = gatewayDuration(fields, 'backendRequest')
  const isLonger = durationMs(request) > 0 && durationMs(backendRequest) > durationMs(request)
  if (isLonger) {
    const message = 'an attempt may not last longer than the request'
    fields.notes.add('INVALID_VALUE', fields.pathOf('backendRequest'), message, 'write a shorter one')
  }
  return { timeouts: { ...(request && { request }), ...(backendRequest && { backendRequest }) } }
}

function retryOf(rule: Fields): Pick<HttpRuleInit, 'retry'> {
  if (rule.raw('retry') === undefined) return {}
  const fields = rule.fields('retry')
  const statuses = fields.list('codes').flatMap(({ value, path }) => {
    if (typeof value === 'number' && Number.isInteger(value) && value >= 400 && value <= 599) return [value]
    fields.notes.add('INVALID_VALUE', path, 'expected a status from 400 to 599', 'write a number')
    return []
  })
  const backoff = gatewayDuration(fields, 'backoff')
  const attempts = fields.integer('attempts', 0, MAX_ATTEMPTS_ASKED) ?? DEFAULT_ATTEMPTS
  // SPEC GATEWAY-API HTTPRouteRetry: connections that fail are tried again whatever the codes.
  const on = ['connect-failure', 'refused-stream', 'reset']
  return { retry: { attempts, statuses, on, ...(backoff && { backoff }) } }
}

function sessionOf(rule: Fields, { object }: RouteReading, index: number): Pick<HttpRuleInit, 'session'> {
  if (rule.raw('sessionPersistence') === undefined) return {}
  const fields = rule.fields('sessionPersistence')
  const { namespace, name } = object.metadata
  const fallback = `sidestep-${stableHash(`${namespace}/${name}/${index}`).toString(16)}`
  const value = fields.text('sessionName') || fallback
  const absoluteTimeout = gatewayDuration(fields, 'absoluteTimeout')
  const idleTimeout = gatewayDuration(fields, 'idleTimeout')
  const isHeader = fields.oneOf('type', SESSION_TYPES, 'Cookie') === 'Header'
  const isPermanent =
    fields.fields('cookieConfig').oneOf('lifetimeType', LIFETIMES, 'Session') === 'Permanent'
  return {
    session: {
      kind: isHeader ? { case: 'header', value: value.toLowerCase() } : { case: 'cookie', value },
      isPermanent,
      ...(absoluteTimeout && { absoluteTimeout }),
      ...(idleTimeout && { idleTimeout }),
    },
  }
}
