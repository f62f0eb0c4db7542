// SPDX-License-Identifier: Apache-2.0
// Matches of VirtualServices. SPEC ISTIO-API HTTPMatchRequest, L4MatchAttributes, TLSMatchAttributes.
import type { Fields } from '../fields.ts'
import { MAX_PORT } from '../service-info.ts'
import type { EntryPart, MatchInit, RouteReading, TcpPart } from './route-part.ts'
import { regexOf } from './route-values.ts'

type ValueInit = NonNullable<MatchInit['headers']>[number]
type TextKind = { readonly case: 'exact' | 'prefix' | 'regex'; readonly value: string }

const MATCH_FIELDS = [
  ...[
    'name',
    'uri',
    'scheme',
    'method',
    'authority',
    'headers',
    'port',
    'sourceLabels',
    'gateways',
    'queryParams',
  ],
  ...['ignoreUriCase', 'withoutHeaders', 'sourceNamespace', 'statPrefix'],
]
const MESH = 'mesh'

/** True when a list of gateways says nothing, or names all clients in the mesh. */
export function isOfMesh(owner: Fields): boolean {
  const gateways = owner.texts('gateways').map(({ text }) => text)
  return gateways.length === 0 || gateways.includes(MESH)
}

/** Matches of a rule in the mesh, in order; null: the rule is for gateways only. */
export function readVirtualMatches(
  rule: Fields,
  reading: RouteReading,
): readonly Pick<EntryPart, 'match' | 'port'>[] | null {
  const all = rule.items('match')
  if (rule.list('match').length === 0) return [{ match: {}, port: 0 }]
  const own = all.filter(isOfMesh)
  return own.length === 0 ? null : own.map((each) => readMatch(each, reading))
}

function readMatch(match: Fields, reading: RouteReading): Pick<EntryPart, 'match' | 'port'> {
  reading.allow(match, MATCH_FIELDS)
  const uri = textKind(match, 'uri', reading)
  const ignoresCase = match.flag('ignoreUriCase')
  const path = uri === null ? null : { kind: pathKind(uri), ignoresCase }
  const pseudo = (['scheme', 'method', 'authority'] as const).flatMap((key) => {
    const kind = textKind(match, key, reading)
    return kind === null ? [] : [{ name: `:${key}`, kind }]
  })
  return {
    match: {
      ...(path !== null && { path }),
      headers: [...pseudo, ...values(match, 'headers', reading, (name) => name.toLowerCase())],
      query: values(match, 'queryParams', reading, (name) => name),
      withoutHeaders: values(match, 'withoutHeaders', reading, (name) => name.toLowerCase()),
      ...sourceOf(match),
    },
    port: match.integer('port', 1, MAX_PORT) ?? 0,
  }
}

/** SPEC ISTIO-API: a prefix is one of characters, not of segments. */
function pathKind({ case: kind, value }: TextKind): NonNullable<MatchInit['path']>['kind'] & object {
  return { case: kind === 'prefix' ? 'characterPrefix' : kind, value }
}

/** Null: unset. */
function textKind(owner: Fields, key: string, reading: RouteReading): TextKind | null {
  if (owner.raw(key) === undefined) return null
  const inner = owner.fields(key)
  reading.allow(inner, ['exact', 'prefix', 'regex'])
  if (inner.raw('exact') !== undefined) return { case: 'exact', value: inner.text('exact') }
  if (inner.raw('prefix') !== undefined) return { case: 'prefix', value: inner.text('prefix') }
  return inner.raw('regex') === undefined ? null : { case: 'regex', value: regexOf(inner, 'regex') ?? '' }
}

/** Of a map from names to conditions; an empty condition is about its being there. */
function values(
  match: Fields,
  key: string,
  reading: RouteReading,
  nameOf: (name: string) => string,
): ValueInit[] {
  const inner = match.fields(key)
  return inner.keys().map((name) => {
    const kind = textKind(inner, name, reading)
    return { name: nameOf(name), kind: kind ?? { case: 'present', value: true } }
  })
}

function sourceOf(match: Fields): { sourceLabels: Record<string, string>; sourceNamespace: string } {
  return {
    sourceLabels: Object.fromEntries(match.textMap('sourceLabels')),
    sourceNamespace: match.text('sourceNamespace'),
  }
}

/** Matches of a `tcp` or `tls` rule in the mesh. */
export function readConnectionMatches(
  rule: Fields,
  form: 'tcp' | 'tls',
  reading: RouteReading,
): readonly (Pick<TcpPart, 'port'> & { readonly rule: TcpPart['rule'] })[] {
  if (rule.list('match').length === 0) return [{ port: 0, rule: {} }]
  const known = ['destinationSubnets', 'port', 'sourceLabels', 'gateways', 'sourceNamespace']
  return rule
    .items('match')
    .filter(isOfMesh)
    .map((match) => {
      reading.allow(match, form === 'tls' ? [...known, 'sniHosts'] : known)
      if (match.raw('destinationSubnets') !== undefined) reading.refuseField(match, 'destinationSubnets')
      const serverNames = match.texts('sniHosts').map(({ text }) => text.toLowerCase())
      return { port: match.integer('port', 1, MAX_PORT) ?? 0, rule: { serverNames, ...sourceOf(match) } }
    })
}
