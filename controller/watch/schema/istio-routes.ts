// SPDX-License-Identifier: Apache-2.0
// Fields of VirtualServices and DestinationRules, and of SMI's TrafficSplits. SPEC ISTIO-API networking/v1; SMI split/v1alpha4.
import {
  ANY,
  FLAG,
  fields,
  integer,
  list,
  mapOf,
  oneOf,
  PORT_NUMBER,
  TEXT,
  TEXT_MAP,
  TEXTS,
} from './shape.ts'

const STRING_MATCH = fields({ exact: TEXT, prefix: TEXT, regex: TEXT })
const PORT_SELECTOR = fields({ number: PORT_NUMBER })
const COUNT = integer(0, 2_147_483_647)
const PERCENT = fields({ value: ANY })
const CHANGES = fields({ set: TEXT_MAP, add: TEXT_MAP, remove: TEXTS })
const HEADERS = fields({ request: CHANGES, response: CHANGES })
const DESTINATION = fields({ host: TEXT, subset: TEXT, port: PORT_SELECTOR }, 'host')

const HTTP_MATCH = fields({
  name: TEXT,
  uri: STRING_MATCH,
  scheme: STRING_MATCH,
  method: STRING_MATCH,
  authority: STRING_MATCH,
  headers: mapOf(STRING_MATCH),
  port: PORT_NUMBER,
  sourceLabels: TEXT_MAP,
  gateways: TEXTS,
  queryParams: mapOf(STRING_MATCH),
  ignoreUriCase: FLAG,
  withoutHeaders: mapOf(STRING_MATCH),
  sourceNamespace: TEXT,
  statPrefix: TEXT,
})

const HTTP_RULE = fields({
  name: TEXT,
  match: list(HTTP_MATCH),
  route: list(fields({ destination: DESTINATION, weight: COUNT, headers: HEADERS }, 'destination')),
  redirect: fields({
    uri: TEXT,
    authority: TEXT,
    port: PORT_NUMBER,
    derivePort: oneOf('FROM_PROTOCOL_DEFAULT', 'FROM_REQUEST_PORT'),
    scheme: TEXT,
    redirectCode: COUNT,
  }),
  directResponse: fields({ status: COUNT, body: fields({ string: TEXT, bytes: TEXT }) }, 'status'),
  delegate: ANY,
  rewrite: fields({ uri: TEXT, authority: TEXT, uriRegexRewrite: fields({ match: TEXT, rewrite: TEXT }) }),
  timeout: TEXT,
  retries: fields({
    attempts: COUNT,
    perTryTimeout: TEXT,
    retryOn: TEXT,
    retryRemoteLocalities: FLAG,
    retryIgnorePreviousHosts: FLAG,
    backoff: TEXT,
  }),
  fault: fields({
    delay: fields({ fixedDelay: TEXT, exponentialDelay: TEXT, percent: COUNT, percentage: PERCENT }),
    abort: fields({
      httpStatus: COUNT,
      grpcStatus: TEXT,
      http2Error: TEXT,
      percent: COUNT,
      percentage: PERCENT,
    }),
  }),
  mirror: DESTINATION,
  mirrors: list(fields({ destination: DESTINATION, percentage: PERCENT }, 'destination')),
  mirrorPercent: COUNT,
  mirror_percent: COUNT,
  mirrorPercentage: PERCENT,
  corsPolicy: fields({
    allowOrigin: TEXTS,
    allowOrigins: list(STRING_MATCH),
    allowMethods: TEXTS,
    allowHeaders: TEXTS,
    exposeHeaders: TEXTS,
    maxAge: TEXT,
    allowCredentials: FLAG,
    unmatchedPreflights: TEXT,
  }),
  headers: HEADERS,
})

const L4_MATCH = {
  destinationSubnets: TEXTS,
  port: PORT_NUMBER,
  sourceLabels: TEXT_MAP,
  gateways: TEXTS,
  sourceNamespace: TEXT,
}
const L4_ROUTES = list(fields({ destination: DESTINATION, weight: COUNT }, 'destination'))

export const VIRTUAL_SERVICE = fields({
  hosts: TEXTS,
  gateways: TEXTS,
  http: list(HTTP_RULE),
  tcp: list(fields({ match: list(fields({ ...L4_MATCH, sourceSubnet: TEXT })), route: L4_ROUTES })),
  tls: list(
    fields({ match: list(fields({ ...L4_MATCH, sniHosts: TEXTS }, 'sniHosts')), route: L4_ROUTES }, 'match'),
  ),
  exportTo: TEXTS,
})

const POLICY = {
  loadBalancer: fields({
    simple: oneOf('UNSPECIFIED', 'LEAST_CONN', 'RANDOM', 'PASSTHROUGH', 'ROUND_ROBIN', 'LEAST_REQUEST'),
    consistentHash: fields({
      httpHeaderName: TEXT,
      httpCookie: fields({ name: TEXT, path: TEXT, ttl: TEXT, attributes: ANY }, 'name'),
      useSourceIp: FLAG,
      httpQueryParameterName: TEXT,
      ringHash: fields({ minimumRingSize: COUNT }),
      maglev: fields({ tableSize: COUNT }),
      minimumRingSize: COUNT,
    }),
    localityLbSetting: ANY,
    warmup: ANY,
    warmupDurationSecs: TEXT,
  }),
  connectionPool: fields({
    tcp: fields({
      maxConnections: COUNT,
      connectTimeout: TEXT,
      tcpKeepalive: ANY,
      maxConnectionDuration: TEXT,
      idleTimeout: TEXT,
    }),
    http: fields({
      http1MaxPendingRequests: COUNT,
      http2MaxRequests: COUNT,
      maxRequestsPerConnection: COUNT,
      maxRetries: COUNT,
      idleTimeout: TEXT,
      h2UpgradePolicy: oneOf('DEFAULT', 'DO_NOT_UPGRADE', 'UPGRADE'),
      useClientProtocol: FLAG,
      maxConcurrentStreams: COUNT,
    }),
  }),
  outlierDetection: fields({
    consecutiveErrors: COUNT,
    splitExternalLocalOriginErrors: FLAG,
    consecutiveLocalOriginFailures: COUNT,
    consecutiveGatewayErrors: COUNT,
    consecutive5xxErrors: COUNT,
    interval: TEXT,
    baseEjectionTime: TEXT,
    maxEjectionPercent: integer(0, 100),
    minHealthPercent: integer(0, 100),
  }),
  tls: ANY,
}
const TRAFFIC_POLICY = fields({
  ...POLICY,
  portLevelSettings: list(fields({ ...POLICY, port: PORT_SELECTOR })),
  tunnel: ANY,
  proxyProtocol: ANY,
  retryBudget: ANY,
})

export const DESTINATION_RULE = fields(
  {
    host: TEXT,
    trafficPolicy: TRAFFIC_POLICY,
    subsets: list(fields({ name: TEXT, labels: TEXT_MAP, trafficPolicy: TRAFFIC_POLICY }, 'name')),
    exportTo: TEXTS,
    workloadSelector: ANY,
  },
  'host',
)

/** A weight is a number, or a share as `900m`. */
export const TRAFFIC_SPLIT = fields(
  { service: TEXT, backends: list(fields({ service: TEXT, weight: ANY }, 'service')), matches: ANY },
  'service',
)
