// SPDX-License-Identifier: Apache-2.0
// What VirtualServices do with a request besides sending it on. SPEC ISTIO-API HTTPRoute.
import type { Fields } from '../fields.ts'
import { quote } from '../notes.ts'
import { MAX_PORT } from '../service-info.ts'
import { hasPort } from './gateway-backends.ts'
import type { BackendInit, FilterInit, HttpRuleInit, RouteReading } from './route-part.ts'
import {
  istioDuration,
  MAX_ATTEMPTS_ASKED,
  percentMillionths,
  regexOf,
  WHOLE_MILLIONTHS,
} from './route-values.ts'

type ValueOf<Case extends string> = Extract<FilterInit['kind'], { case: Case }>['value']

const INT32 = 2_147_483_647 // SPEC ISTIO-API: int32
const CODES = ['RESOLVE', 'FROM_PROTOCOL_DEFAULT', 'FROM_REQUEST_PORT'] as const
/** SPEC ISTIO-API HTTPRetry.retryOn: what is meant when nothing is said. */
const DEFAULT_RETRY_ON = ['connect-failure', 'refused-stream', 'unavailable', 'cancelled', '503']
const GRPC_STATUSES = [
  ...['OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND', 'ALREADY_EXISTS'],
  ...['PERMISSION_DENIED', 'RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE'],
  ...['UNIMPLEMENTED', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS', 'UNAUTHENTICATED'],
] as const

/** Destinations with their weights. SPEC ISTIO-API: one alone has everything, whatever its weight. */
export function readDestinations(rule: Fields, reading: RouteReading): BackendInit[] {
  const routes = rule.items('route')
  return routes.map((each) => {
    const before = reading.mistakes
    reading.allow(each, ['destination', 'weight', 'headers'])
    const weight = each.integer('weight', 0, INT32) ?? 0
    const filters = readHeaders(each, reading)
    const backend = readDestination(each.fields('destination'), reading)
    const share = routes.length === 1 ? 1 : weight
    if (reading.mistakes > before) return { weight: share, broken: 'the destination cannot be acted on' }
    return { ...backend, weight: share, filters }
  })
}

function readDestination(destination: Fields, reading: RouteReading): BackendInit {
  reading.allow(destination, ['host', 'subset', 'port'])
  const host = destination.text('host')
  const { namespace } = reading.object.metadata
  const found = reading.find({ by: 'host', namespace, name: host })
  if (typeof found === 'string') {
    const fix = 'create the Service or ServiceEntry, or mend the host'
    return {
      broken: reading.refuseRef(
        'BackendNotFound',
        destination.pathOf('host'),
        `there is no host ${quote(host)}`,
        fix,
      ),
    }
  }
  const port = destination.fields('port').integer('number', 1, MAX_PORT)
  const only = found.ports.length === 1 ? (found.ports[0]?.servicePort ?? 0) : 0
  if (port !== undefined && !hasPort(found, port)) {
    const ports = found.ports.map(({ servicePort }) => servicePort).join(', ')
    const message = `${quote(host)} has no port ${port}`
    return {
      broken: reading.refuseRef(
        'BackendNotFound',
        destination.pathOf('port'),
        message,
        `use one of ${ports}`,
      ),
    }
  }
  reading.backends.add(found.key)
  return { service: found.key, port: port ?? only, subset: destination.text('subset') }
}

/** `headers` of a rule or a destination. */
function readHeaders(owner: Fields, reading: RouteReading): FilterInit[] {
  if (owner.raw('headers') === undefined) return []
  const headers = owner.fields('headers')
  reading.allow(headers, ['request', 'response'])
  const modifier = (key: string): ValueOf<'requestHeaders'> => {
    const inner = headers.fields(key)
    reading.allow(inner, ['set', 'add', 'remove'])
    const pairs = (name: string): { name: string; value: string }[] =>
      [...inner.textMap(name)].map(([field, value]) => ({ name: field, value }))
    return { set: pairs('set'), add: pairs('add'), remove: inner.texts('remove').map(({ text }) => text) }
  }
  const filters: FilterInit[] = []
  if (headers.raw('request') !== undefined)
    filters.push({ kind: { case: 'requestHeaders', value: modifier('request') } })
  if (headers.raw('response') !== undefined)
    filters.push({ kind: { case: 'responseHeaders', value: modifier('response') } })
  return filters
}

/** Everything of a rule but its rewrite, in the order in which Envoy would do it. */
export function readVirtualFilters(rule: Fields, reading: RouteReading): FilterInit[] {
  return [
    ...readCors(rule, reading),
    ...readFault(rule, reading),
    ...readHeaders(rule, reading),
    ...readMirrors(rule, reading),
    ...readRedirect(rule, reading),
    ...readDirectResponse(rule, reading),
  ]
}

function readCors(rule: Fields, reading: RouteReading): FilterInit[] {
  if (rule.raw('corsPolicy') === undefined) return []
  const cors = rule.fields('corsPolicy')
  reading.allow(cors, [
    ...['allowOrigin', 'allowOrigins', 'allowMethods', 'allowHeaders', 'exposeHeaders', 'maxAge'],
    ...['allowCredentials', 'unmatchedPreflights'],
  ])
  reading.noteUnserved(cors, { unmatchedPreflights: 'remove it: other preflights are sent on' })
  const texts = (key: string): string[] => cors.texts(key).map(({ text }) => text)
  const maxAge = istioDuration(cors, 'maxAge')
  const originMatches = cors.items('allowOrigins').map((each) => {
    const [key = ''] = each.keys()
    const value = key === 'regex' ? (regexOf(each, key) ?? '') : each.text(key)
    const kind =
      key === 'regex' ? ('regex' as const) : key === 'prefix' ? ('prefix' as const) : ('exact' as const)
    return { name: 'origin', kind: { case: kind, value } }
  })
  return [
    {
      kind: {
        case: 'cors',
        value: {
          origins: texts('allowOrigin'),
          originMatches,
          methods: texts('allowMethods'),
          requestHeaders: texts('allowHeaders'),
          exposedHeaders: texts('exposeHeaders'),
          allowsCredentials: cors.flag('allowCredentials'),
          ...(maxAge && { maxAge }),
        },
      },
    },
  ]
}

function readFault(rule: Fields, reading: RouteReading): FilterInit[] {
  if (rule.raw('fault') === undefined) return []
  const fault = rule.fields('fault')
  reading.allow(fault, ['delay', 'abort'])
  const [delay, abort] = [fault.fields('delay'), fault.fields('abort')]
  reading.allow(delay, ['fixedDelay', 'percentage', 'percent'])
  reading.allow(abort, ['httpStatus', 'grpcStatus', 'percentage', 'percent'])
  const duration = istioDuration(delay, 'fixedDelay')
  const grpc = abort.oneOf('grpcStatus', GRPC_STATUSES, null)
  return [
    {
      kind: {
        case: 'fault',
        value: {
          ...(duration && { delay: duration, delayMillionths: shareOf(delay) }),
          abortStatus: abort.integer('httpStatus', 200, 599) ?? 0,
          ...(grpc !== null && { abortGrpcStatus: GRPC_STATUSES.indexOf(grpc) }),
          abortMillionths: shareOf(abort),
        },
      },
    },
  ]
}

/** SPEC ISTIO-API: without a percentage no request is meant. */
function shareOf(fault: Fields): number {
  return percentMillionths(fault, 'percentage') ?? (fault.integer('percent', 0, 100) ?? 0) * 10_000
}

function readMirrors(rule: Fields, reading: RouteReading): FilterInit[] {
  const mirrors: FilterInit[] = []
  if (rule.raw('mirror') !== undefined) {
    const backend = readDestination(rule.fields('mirror'), reading)
    const old = rule.integer('mirrorPercent', 0, 100) ?? rule.integer('mirror_percent', 0, 100)
    const share = percentMillionths(rule, 'mirrorPercentage') ?? (old === undefined ? null : old * 10_000)
    mirrors.push({ kind: { case: 'mirror', value: { backend, millionths: share ?? WHOLE_MILLIONTHS } } })
  }
  for (const each of rule.items('mirrors')) {
    reading.allow(each, ['destination', 'percentage'])
    const backend = readDestination(each.fields('destination'), reading)
    const millionths = percentMillionths(each, 'percentage') ?? WHOLE_MILLIONTHS
    mirrors.push({ kind: { case: 'mirror', value: { backend, millionths } } })
  }
  return mirrors
}

function readRedirect(rule: Fields, reading: RouteReading): FilterInit[] {
  if (rule.raw('redirect') === undefined) return []
  const redirect = rule.fields('redirect')
  reading.allow(redirect, ['uri', 'authority', 'port', 'derivePort', 'scheme', 'redirectCode'])
  const uri = redirect.text('uri')
  const path = uri === '' ? {} : { path: { kind: { case: 'full' as const, value: uri } } }
  if (uri.includes('%')) reading.refuseField(redirect, 'uri', 'variables in a path are not served')
  redirect.oneOf('derivePort', CODES, null)
  const [host = '', named] = redirect.text('authority').split(':')
  return [
    {
      kind: {
        case: 'redirect',
        value: {
          scheme: redirect.text('scheme'),
          host,
          ...path,
          port: redirect.integer('port', 1, MAX_PORT) ?? portOf(named),
          status: redirect.integer('redirectCode', 300, 399) ?? 301, // SPEC ISTIO-API HTTPRedirect
        },
      },
    },
  ]
}

function portOf(text: string | undefined): number {
  const port = Number(text ?? 0)
  return Number.isInteger(port) && port > 0 && port <= MAX_PORT ? port : 0
}

function readDirectResponse(rule: Fields, reading: RouteReading): FilterInit[] {
  if (rule.raw('directResponse') === undefined) return []
  const response = rule.fields('directResponse')
  reading.allow(response, ['status', 'body'])
  const body = response.fields('body')
  reading.allow(body, ['string', 'bytes'])
  const bytes =
    body.raw('bytes') === undefined
      ? Buffer.from(body.text('string'))
      : Buffer.from(body.text('bytes'), 'base64')
  const status = response.integer('status', 100, 599) ?? 200
  return [{ kind: { case: 'directResponse', value: { status, body: new Uint8Array(bytes) } } }]
}

/** `rewrite` for requests whose path was matched by a prefix, or otherwise. */
export function readRewrite(
  rule: Fields,
  reading: RouteReading,
): ((isByPrefix: boolean) => FilterInit[]) | null {
  if (rule.raw('rewrite') === undefined) return null
  const rewrite = rule.fields('rewrite')
  reading.allow(rewrite, ['uri', 'authority', 'uriRegexRewrite'])
  const host = rewrite.text('authority')
  const uri = rewrite.text('uri')
  if (rewrite.raw('uriRegexRewrite') !== undefined) {
    const inner = rewrite.fields('uriRegexRewrite')
    reading.allow(inner, ['match', 'rewrite'])
    const value = { pattern: regexOf(inner, 'match') ?? '', replacement: inner.text('rewrite') }
    return () => [{ kind: { case: 'rewrite', value: { host, path: { kind: { case: 'regex', value } } } } }]
  }
  return (isByPrefix) => {
    const path = { kind: { case: isByPrefix ? ('prefix' as const) : ('full' as const), value: uri } }
    return [{ kind: { case: 'rewrite', value: { host, ...(uri !== '' && { path }) } } }]
  }
}

/** `timeout` and `retries`. */
export function readResilience(
  rule: Fields,
  reading: RouteReading,
): Pick<HttpRuleInit, 'timeouts' | 'retry'> {
  const request = istioDuration(rule, 'timeout')
  const timeouts = request === undefined ? {} : { timeouts: { request } }
  if (rule.raw('retries') === undefined) return timeouts
  const retries = rule.fields('retries')
  const known = ['attempts', 'perTryTimeout', 'retryOn', 'backoff']
  const harmless = ['retryRemoteLocalities', 'retryIgnorePreviousHosts']
  reading.allow(retries, [...known, ...harmless])
  reading.noteUnserved(retries, Object.fromEntries(harmless.map((key) => [key, 'remove it'])))
  const perTry = istioDuration(retries, 'perTryTimeout')
  const backoff = istioDuration(retries, 'backoff')
  const text = retries.text('retryOn')
  const words = text === '' ? DEFAULT_RETRY_ON : text.split(',').map((word) => word.trim())
  const isStatus = (word: string): boolean => /^[1-5]\d\d$/.test(word)
  return {
    ...timeouts,
    retry: {
      attempts: retries.integer('attempts', 0, MAX_ATTEMPTS_ASKED) ?? 0,
      statuses: words.filter(isStatus).map(Number),
      on: words.filter((word) => word !== '' && !isStatus(word)),
      ...(perTry && { perTry }),
      ...(backoff && { backoff }),
    },
  }
}
