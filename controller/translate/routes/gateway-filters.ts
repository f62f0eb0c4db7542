// SPDX-License-Identifier: Apache-2.0
// Filters of HTTPRoutes and GRPCRoutes. SPEC GATEWAY-API HTTPRouteFilter, GRPCRouteFilter: one that cannot be acted on is never
// skipped.
import type { Fields } from '../fields.ts'
import { readTarget } from './gateway-backends.ts'
import type { BackendInit, FilterInit, RouteReading } from './route-part.ts'
import { WHOLE_MILLIONTHS } from './route-values.ts'

/** Filters that a kind has. */
export const HTTP_FILTERS = [
  ...[
    'RequestHeaderModifier',
    'ResponseHeaderModifier',
    'RequestMirror',
    'RequestRedirect',
    'URLRewrite',
    'CORS',
  ],
] as const
export const GRPC_FILTERS = ['RequestHeaderModifier', 'ResponseHeaderModifier', 'RequestMirror'] as const

type FilterType = (typeof HTTP_FILTERS)[number]

/** Where the fields of a type stand. */
const FIELD_OF: Readonly<Record<FilterType, string>> = {
  RequestHeaderModifier: 'requestHeaderModifier',
  ResponseHeaderModifier: 'responseHeaderModifier',
  RequestMirror: 'requestMirror',
  RequestRedirect: 'requestRedirect',
  URLRewrite: 'urlRewrite',
  CORS: 'cors',
}
const SCHEMES = ['http', 'https'] as const
const STATUSES = [301, 302, 303, 307, 308]
const PATH_TYPES = ['ReplaceFullPath', 'ReplacePrefixMatch'] as const
const PERCENT = 100
const INT32 = 2_147_483_647 // SPEC GATEWAY-API Fraction: int32

/** The filters of a rule or of a backend, in order. */
export function readGatewayFilters(
  owner: Fields,
  known: readonly FilterType[],
  reading: RouteReading,
): FilterInit[] {
  return owner.items('filters').flatMap((filter) => {
    const text = filter.text('type')
    const type = known.find((each) => each === text)
    if (type === undefined) {
      reading.refuseField(filter, 'type', 'filters of this type are not served')
      return []
    }
    reading.allow(filter, ['type', FIELD_OF[type]])
    return [{ kind: readFilter(type, filter.fields(FIELD_OF[type]), reading) }]
  })
}

function readFilter(type: FilterType, filter: Fields, reading: RouteReading): FilterInit['kind'] {
  switch (type) {
    case 'RequestHeaderModifier':
      return { case: 'requestHeaders', value: readModifier(filter, reading) }
    case 'ResponseHeaderModifier':
      return { case: 'responseHeaders', value: readModifier(filter, reading) }
    case 'RequestMirror':
      return { case: 'mirror', value: readMirror(filter, reading) }
    case 'RequestRedirect':
      return { case: 'redirect', value: readRedirect(filter, reading) }
    case 'URLRewrite':
      reading.allow(filter, ['hostname', 'path'])
      return { case: 'rewrite', value: { host: filter.text('hostname'), ...pathOf(filter, reading) } }
    case 'CORS':
      return { case: 'cors', value: readCors(filter, reading) }
  }
}

type ValueOf<Case extends string> = Extract<FilterInit['kind'], { case: Case }>['value']

function readModifier(filter: Fields, reading: RouteReading): ValueOf<'requestHeaders'> {
  reading.allow(filter, ['set', 'add', 'remove'])
  const values = (key: string): { name: string; value: string }[] =>
    filter.items(key).map((each) => {
      reading.allow(each, ['name', 'value'])
      return { name: each.text('name'), value: each.text('value') }
    })
  const remove = filter.texts('remove').map(({ text }) => text)
  return { set: values('set'), add: values('add'), remove }
}

function readMirror(filter: Fields, reading: RouteReading): ValueOf<'mirror'> {
  reading.allow(filter, ['backendRef', 'percent', 'fraction'])
  const { broken, service, port } = readTarget(filter.fields('backendRef'), reading)
  const backend: BackendInit = broken === '' ? { service, port } : { broken }
  const percent = filter.integer('percent', 0, PERCENT)
  if (percent !== undefined) return { backend, millionths: percent * 10_000 }
  if (filter.raw('fraction') === undefined) return { backend, millionths: WHOLE_MILLIONTHS }
  const fraction = filter.fields('fraction')
  const numerator = fraction.integer('numerator', 0, INT32) ?? 0
  const denominator = fraction.integer('denominator', 1, INT32) ?? PERCENT
  const share = Math.min(1, numerator / denominator)
  return { backend, millionths: Math.round(share * WHOLE_MILLIONTHS) }
}

function readRedirect(filter: Fields, reading: RouteReading): ValueOf<'redirect'> {
  reading.allow(filter, ['scheme', 'hostname', 'path', 'port', 'statusCode'])
  const status = filter.integer('statusCode', 300, 399) ?? 302
  if (!STATUSES.includes(status)) filter.invalid('statusCode', String(status), STATUSES.map(String))
  return {
    scheme: filter.oneOf('scheme', SCHEMES, ''),
    host: filter.text('hostname'),
    ...pathOf(filter, reading),
    port: filter.integer('port', 1, 65_535) ?? 0,
    status,
  }
}

function pathOf(filter: Fields, reading: RouteReading): Pick<ValueOf<'rewrite'>, 'path'> {
  if (filter.raw('path') === undefined) return {}
  const path = filter.fields('path')
  reading.allow(path, ['type', 'replaceFullPath', 'replacePrefixMatch'])
  switch (path.oneOf('type', PATH_TYPES, null)) {
    case 'ReplaceFullPath':
      return { path: { kind: { case: 'full', value: path.text('replaceFullPath') } } }
    case 'ReplacePrefixMatch':
      return { path: { kind: { case: 'prefix', value: path.text('replacePrefixMatch') } } }
    case null:
      path.invalid('type', path.text('type'), PATH_TYPES)
      return {}
  }
}

function readCors(filter: Fields, reading: RouteReading): ValueOf<'cors'> {
  const fields = [
    'allowOrigins',
    'allowCredentials',
    'allowMethods',
    'allowHeaders',
    'exposeHeaders',
    'maxAge',
  ]
  reading.allow(filter, fields)
  const texts = (key: string): string[] => filter.texts(key).map(({ text }) => text)
  const seconds = filter.integer('maxAge', 1, INT32) ?? 5 // SPEC GATEWAY-API HTTPCORSFilter: the default
  return {
    origins: texts('allowOrigins'),
    methods: texts('allowMethods'),
    requestHeaders: texts('allowHeaders'),
    exposedHeaders: texts('exposeHeaders'),
    allowsCredentials: filter.flag('allowCredentials'),
    maxAge: { seconds: BigInt(seconds) },
  }
}

/** Why filters cannot stand together or with these matches; null: they can. */
export function filterConflict(filters: readonly FilterInit[], hasOnlyPrefixes: boolean): string | null {
  const kinds = filters.map(({ kind }) => kind)
  const redirects = kinds.flatMap((kind) => (kind?.case === 'redirect' ? [kind.value] : []))
  const rewrites = kinds.flatMap((kind) => (kind?.case === 'rewrite' ? [kind.value] : []))
  if (redirects.length > 0 && rewrites.length > 0) return 'a redirect and a rewrite exclude each other'
  if (redirects.length > 1 || rewrites.length > 1) return 'there is more than one redirect or rewrite'
  const replacesPrefix = [...redirects, ...rewrites].some(({ path }) => path?.kind?.case === 'prefix')
  return replacesPrefix && !hasOnlyPrefixes ? 'ReplacePrefixMatch needs matches by PathPrefix only' : null
}
