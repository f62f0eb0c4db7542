// SPDX-License-Identifier: Apache-2.0
// Matches of HTTPRoutes and GRPCRoutes, with the rank that decides between them. SPEC GATEWAY-API HTTPRouteRule.matches,
// GRPCRouteRule.matches.
import type { Fields } from '../fields.ts'
import { quote } from '../notes.ts'
import type { EntryPart, MatchInit, RouteReading } from './route-part.ts'
import { regexOf } from './route-values.ts'

const PATH_TYPES = ['Exact', 'PathPrefix', 'RegularExpression'] as const
const VALUE_TYPES = ['Exact', 'RegularExpression'] as const
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH']
// What a regular expression means among the others is an implementation's choice: it is between them, as Istio has it.
const PATH_RANKS = { Exact: 3, RegularExpression: 2, PathPrefix: 1 } as const

type MatchPart = Pick<EntryPart, 'match' | 'rank'>
type ValueInit = NonNullable<MatchInit['headers']>[number]

/** A rule's matches; a rule without any is for every request. */
export function readHttpMatches(rule: Fields, reading: RouteReading): MatchPart[] {
  const matches = rule.items('matches').map((each) => readHttpMatch(each, reading))
  return rule.list('matches').length === 0 ? [EVERYTHING] : matches
}

const EVERYTHING: MatchPart = {
  match: { path: { kind: { case: 'prefix', value: '/' } } },
  rank: [PATH_RANKS.PathPrefix, 1, 0, 0, 0],
}

function readHttpMatch(match: Fields, reading: RouteReading): MatchPart {
  reading.allow(match, ['path', 'headers', 'queryParams', 'method'])
  const path = match.fields('path')
  reading.allow(path, ['type', 'value'])
  const type = path.oneOf('type', PATH_TYPES, 'PathPrefix')
  const value = type === 'RegularExpression' ? (regexOf(path, 'value') ?? '') : path.text('value', '/')
  if (type !== 'RegularExpression' && !value.startsWith('/'))
    path.notes.add('INVALID_VALUE', path.pathOf('value'), `${quote(value)} is no path`, 'begin it with /')
  const kinds = { Exact: 'exact', PathPrefix: 'prefix', RegularExpression: 'regex' } as const
  const method = match.text('method')
  if (method !== '' && !METHODS.includes(method)) match.invalid('method', method, METHODS)
  const headers = readValues(match, 'headers', reading, (name) => name.toLowerCase())
  const query = readValues(match, 'queryParams', reading, (name) => name)
  return {
    match: { path: { kind: { case: kinds[type], value } }, method, headers, query },
    rank: [PATH_RANKS[type], value.length, method === '' ? 0 : 1, headers.length, query.length],
  }
}

/** Of several conditions on one name the first counts. */
function readValues(
  match: Fields,
  key: string,
  reading: RouteReading,
  nameOf: (name: string) => string,
): ValueInit[] {
  const byName = new Map<string, ValueInit>()
  for (const each of match.items(key)) {
    reading.allow(each, ['type', 'name', 'value'])
    const name = nameOf(each.text('name'))
    const kind =
      each.oneOf('type', VALUE_TYPES, 'Exact') === 'Exact'
        ? ({ case: 'exact', value: each.text('value') } as const)
        : ({ case: 'regex', value: regexOf(each, 'value') ?? '' } as const)
    if (!byName.has(name)) byName.set(name, { name, kind })
  }
  return [...byName.values()]
}

/** A rule's matches; a rule without any is for every call. */
export function readGrpcMatches(rule: Fields, reading: RouteReading): MatchPart[] {
  const matches = rule.items('matches').map((each) => readGrpcMatch(each, reading))
  return rule.list('matches').length === 0 ? [{ match: {}, rank: [0, 0, 0, 0] }] : matches
}

function readGrpcMatch(match: Fields, reading: RouteReading): MatchPart {
  reading.allow(match, ['method', 'headers'])
  const inner = match.fields('method')
  reading.allow(inner, ['type', 'service', 'method'])
  const isRegex = inner.oneOf('type', VALUE_TYPES, 'Exact') === 'RegularExpression'
  const read = (key: string): string => (isRegex ? (regexOf(inner, key) ?? '') : inner.text(key))
  const [service, method] = [read('service'), read('method')]
  const headers = readValues(match, 'headers', reading, (name) => name.toLowerCase())
  const path = { kind: { case: 'grpc', value: { service, method, isRegex } } } as const
  const hasMethod = service !== '' || method !== ''
  return {
    match: { ...(hasMethod && { path }), headers },
    rank: [hasMethod && !isRegex ? 1 : 0, service.length, method.length, headers.length],
  }
}
