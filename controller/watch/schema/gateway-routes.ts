// SPDX-License-Identifier: Apache-2.0
// Fields of the routes of the Gateway API, the experimental ones included. SPEC GATEWAY-API v1.
import { ANY, FLAG, fields, integer, list, oneOf, PORT_NUMBER, type Shape, TEXT, TEXTS } from './shape.ts'

const PARENT = fields(
  { group: TEXT, kind: TEXT, namespace: TEXT, name: TEXT, sectionName: TEXT, port: PORT_NUMBER },
  'name',
)
const REF = { group: TEXT, kind: TEXT, namespace: TEXT, name: TEXT, port: PORT_NUMBER }
const WEIGHT = integer(0, 1_000_000)
const VALUE = fields({ type: oneOf('Exact', 'RegularExpression'), name: TEXT, value: TEXT }, 'name', 'value')
const HEADER = fields({ name: TEXT, value: TEXT }, 'name', 'value')
const MODIFIER = fields({ set: list(HEADER), add: list(HEADER), remove: TEXTS })
const PATH_MODIFIER = fields(
  { type: oneOf('ReplaceFullPath', 'ReplacePrefixMatch'), replaceFullPath: TEXT, replacePrefixMatch: TEXT },
  'type',
)
const COUNT = integer(0, 2_147_483_647)
const MIRROR = fields(
  {
    backendRef: fields(REF, 'name'),
    percent: integer(0, 100),
    fraction: fields({ numerator: COUNT, denominator: COUNT }, 'numerator'),
  },
  'backendRef',
)
const EXTENSION = fields({ group: TEXT, kind: TEXT, name: TEXT }, 'group', 'kind', 'name')
const GRPC_FILTER_FIELDS = {
  requestHeaderModifier: MODIFIER,
  responseHeaderModifier: MODIFIER,
  requestMirror: MIRROR,
  extensionRef: EXTENSION,
}
const GRPC_FILTERS = list(
  fields(
    {
      type: oneOf('RequestHeaderModifier', 'ResponseHeaderModifier', 'RequestMirror', 'ExtensionRef'),
      ...GRPC_FILTER_FIELDS,
    },
    'type',
  ),
)
const HTTP_FILTERS = list(
  fields(
    {
      type: oneOf(
        ...['RequestHeaderModifier', 'ResponseHeaderModifier', 'RequestMirror', 'RequestRedirect'],
        ...['URLRewrite', 'CORS', 'ExternalAuth', 'ExtensionRef'],
      ),
      ...GRPC_FILTER_FIELDS,
      requestRedirect: fields({
        scheme: oneOf('http', 'https'),
        hostname: TEXT,
        path: PATH_MODIFIER,
        port: PORT_NUMBER,
        statusCode: integer(300, 399),
      }),
      urlRewrite: fields({ hostname: TEXT, path: PATH_MODIFIER }),
      cors: fields({
        allowOrigins: TEXTS,
        allowCredentials: FLAG,
        allowMethods: TEXTS,
        allowHeaders: TEXTS,
        exposeHeaders: TEXTS,
        maxAge: COUNT,
      }),
      externalAuth: ANY,
    },
    'type',
  ),
)
const SESSION = fields({
  sessionName: TEXT,
  absoluteTimeout: TEXT,
  idleTimeout: TEXT,
  type: oneOf('Cookie', 'Header'),
  cookieConfig: fields({ lifetimeType: oneOf('Permanent', 'Session') }),
})

const common = (rule: Shape): Readonly<Record<string, Shape>> => ({
  parentRefs: list(PARENT),
  hostnames: TEXTS,
  rules: list(rule),
  useDefaultGateways: TEXT,
})

export const HTTP_ROUTE = fields(
  common(
    fields({
      name: TEXT,
      matches: list(
        fields({
          path: fields({ type: oneOf('Exact', 'PathPrefix', 'RegularExpression'), value: TEXT }),
          headers: list(VALUE),
          queryParams: list(VALUE),
          method: oneOf('GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'),
        }),
      ),
      filters: HTTP_FILTERS,
      backendRefs: list(fields({ ...REF, weight: WEIGHT, filters: HTTP_FILTERS }, 'name')),
      timeouts: fields({ request: TEXT, backendRequest: TEXT }),
      retry: fields({ codes: list(integer(400, 599)), attempts: COUNT, backoff: TEXT }),
      sessionPersistence: SESSION,
    }),
  ),
)

export const GRPC_ROUTE = fields(
  common(
    fields({
      name: TEXT,
      matches: list(
        fields({
          method: fields({ type: oneOf('Exact', 'RegularExpression'), service: TEXT, method: TEXT }),
          headers: list(VALUE),
        }),
      ),
      filters: GRPC_FILTERS,
      backendRefs: list(fields({ ...REF, weight: WEIGHT, filters: GRPC_FILTERS }, 'name')),
      sessionPersistence: SESSION,
    }),
  ),
)

/** TCPRoute and TLSRoute. */
export const L4_ROUTE = fields(
  common(fields({ name: TEXT, backendRefs: list(fields({ ...REF, weight: WEIGHT }, 'name')) })),
)

export const REFERENCE_GRANT = fields(
  {
    from: list(fields({ group: TEXT, kind: TEXT, namespace: TEXT }, 'group', 'kind', 'namespace')),
    to: list(fields({ group: TEXT, kind: TEXT, name: TEXT }, 'group', 'kind')),
  },
  'from',
  'to',
)
