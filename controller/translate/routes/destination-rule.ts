// SPDX-License-Identifier: Apache-2.0
// DestinationRules: how the endpoints of hosts are used. SPEC ISTIO-API DestinationRule.
import type { MessageInitShape } from '@bufbuild/protobuf'
import {
  Balancing_Algorithm,
  type BalancingSchema,
  ConnectionPool_H2Upgrade,
  type ConnectionPoolSchema,
  type OutlierDetectionSchema,
  type SubsetSchema,
  type UpstreamPolicySchema,
} from '../../../proto/generated/sidestep/v1/traffic_policy_pb.js'
import type { ConfigObject } from '../../watch/config-object.ts'
import { Fields } from '../fields.ts'
import { MAX_PORT } from '../service-info.ts'
import type { ConfigFinding } from '../translation.ts'
import { type Init, RouteReading } from './route-part.ts'
import { istioDuration } from './route-values.ts'

export type PolicyInit = Init<MessageInitShape<typeof UpstreamPolicySchema>>
export type SubsetInit = Init<MessageInitShape<typeof SubsetSchema>>

/** A policy with what differs by port. */
interface PortedPolicy {
  readonly policy: PolicyInit
  readonly ports: Readonly<Record<number, PolicyInit>>
}

export interface DestinationPart {
  readonly object: ConfigObject
  /** As it was written; '' when the rule is for nobody. */
  readonly host: string
  /** Namespaces of services that it is exported to; null: all. */
  readonly exportedTo: readonly string[] | null
  /** null: it has none. */
  readonly whole: PortedPolicy | null
  /** What they take over from the whole is in them. */
  readonly subsets: readonly SubsetInit[]
  readonly findings: readonly ConfigFinding[]
}

const SPEC_FIELDS = ['host', 'trafficPolicy', 'subsets', 'exportTo', 'workloadSelector']
const POLICY_FIELDS = ['loadBalancer', 'connectionPool', 'outlierDetection', 'portLevelSettings']
const UNSERVED_POLICY = {
  tls: 'remove it: connections inside the mesh are encrypted as they are',
  tunnel: 'remove it',
  proxyProtocol: 'remove it',
  retryBudget: 'remove it: every waypoint has a budget',
}
const INT32 = 2_147_483_647 // SPEC ISTIO-API: int32
const PERCENT = 100

export function readDestinationRule(object: ConfigObject): DestinationPart {
  const reading = new RouteReading(object, () => 'missing')
  const spec = new Fields(object.spec, 'spec', reading.notes)
  for (const key of spec.keys())
    if (!SPEC_FIELDS.includes(key)) reading.noteUnserved(spec, { [key]: 'remove it' })
  // It is for some callers only: for all it would be too much.
  const isPartial = spec.raw('workloadSelector') !== undefined
  reading.noteUnserved(spec, { workloadSelector: 'remove it: the rule is left out as a whole' })
  const hasPolicy = spec.raw('trafficPolicy') !== undefined
  const whole = hasPolicy ? readPorted(spec.fields('trafficPolicy'), reading) : null
  const subsets = spec.items('subsets').map((each) => readSubset(each, whole, reading))
  const names = spec.texts('exportTo').map(({ text }) => (text === '.' ? object.metadata.namespace : text))
  return {
    object,
    host: isPartial ? '' : spec.text('host'),
    exportedTo: names.length === 0 || names.includes('*') ? null : names,
    ...{ whole, subsets, findings: reading.notes.findings },
  }
}

/** SPEC ISTIO-API: a subset has its own for each part that it names, and the whole's for the others. */
function readSubset(fields: Fields, whole: PortedPolicy | null, reading: RouteReading): SubsetInit {
  const own =
    fields.raw('trafficPolicy') === undefined ? null : readPorted(fields.fields('trafficPolicy'), reading)
  const over = own?.policy ?? {}
  const ports = Object.fromEntries(
    Object.entries(whole?.ports ?? {}).map(([port, policy]) => [port, { ...policy, ...over }]),
  )
  return {
    name: fields.text('name'),
    labels: Object.fromEntries(fields.textMap('labels')),
    policy: { ...whole?.policy, ...over },
    ports: { ...ports, ...own?.ports },
  }
}

function readPorted(fields: Fields, reading: RouteReading): PortedPolicy {
  const ports: Record<number, PolicyInit> = {}
  for (const each of fields.items('portLevelSettings')) {
    const port = each.fields('port').integer('number', 1, MAX_PORT)
    if (port !== undefined) ports[port] = readPolicy(each, reading)
  }
  return { policy: readPolicy(fields, reading), ports }
}

function readPolicy(fields: Fields, reading: RouteReading): PolicyInit {
  reading.noteUnserved(fields, UNSERVED_POLICY)
  const known = [...POLICY_FIELDS, ...Object.keys(UNSERVED_POLICY), 'port']
  for (const key of fields.keys())
    if (!known.includes(key)) reading.noteUnserved(fields, { [key]: 'remove it' })
  const has = (key: string): boolean => fields.raw(key) !== undefined
  return {
    ...(has('connectionPool') && { pool: readPool(fields.fields('connectionPool'), reading) }),
    ...(has('outlierDetection') && { outlier: readOutlier(fields.fields('outlierDetection')) }),
    ...(has('loadBalancer') && { balancing: readBalancing(fields.fields('loadBalancer'), reading) }),
  }
}

/** A field that is set, under another name. */
function counted<K extends string>(
  fields: Fields,
  key: string,
  name: K,
  max = INT32,
): { [key in K]?: number } {
  const value = fields.integer(key, 0, max)
  // as: TypeScript takes a computed key for any text
  return (value === undefined ? {} : { [name]: value }) as { [key in K]?: number }
}

function timed<K extends string>(
  fields: Fields,
  key: string,
  name: K,
): { [key in K]?: NonNullable<ReturnType<typeof istioDuration>> } {
  const value = istioDuration(fields, key)
  // as: see above
  return (value === undefined ? {} : { [name]: value }) as {
    [key in K]?: NonNullable<ReturnType<typeof istioDuration>>
  }
}

type PoolInit = Init<MessageInitShape<typeof ConnectionPoolSchema>>

function readPool(fields: Fields, reading: RouteReading): PoolInit {
  const [tcp, http] = [fields.fields('tcp'), fields.fields('http')]
  const remove = 'remove it'
  reading.noteUnserved(tcp, { tcpKeepalive: remove })
  reading.noteUnserved(http, { useClientProtocol: remove, maxConcurrentStreams: remove })
  const upgrades = ['DEFAULT', 'DO_NOT_UPGRADE', 'UPGRADE'] as const
  return {
    ...counted(tcp, 'maxConnections', 'maxConnections'),
    ...timed(tcp, 'connectTimeout', 'connectTimeout'),
    ...timed(tcp, 'idleTimeout', 'idleTimeout'),
    ...timed(tcp, 'maxConnectionDuration', 'maxConnectionDuration'),
    ...counted(http, 'http1MaxPendingRequests', 'maxPendingRequests'),
    ...counted(http, 'http2MaxRequests', 'maxRequests'),
    ...counted(http, 'maxRequestsPerConnection', 'maxRequestsPerConnection'),
    ...counted(http, 'maxRetries', 'maxRetries'),
    ...timed(http, 'idleTimeout', 'idleTimeout'),
    h2Upgrade: ConnectionPool_H2Upgrade[http.oneOf('h2UpgradePolicy', upgrades, 'DEFAULT')],
  }
}

type OutlierInit = Init<MessageInitShape<typeof OutlierDetectionSchema>>

function readOutlier(fields: Fields): OutlierInit {
  // SPEC ISTIO-API: the field of old counted gateway errors, and nothing else; its successors count where they are set.
  const isOld =
    fields.raw('consecutiveErrors') !== undefined &&
    fields.raw('consecutive5xxErrors') === undefined &&
    fields.raw('consecutiveGatewayErrors') === undefined
  const old = isOld
    ? { ...counted(fields, 'consecutiveErrors', 'consecutiveGatewayErrors'), consecutive5xx: 0 }
    : {}
  return {
    ...old,
    ...counted(fields, 'consecutive5xxErrors', 'consecutive5xx'),
    ...counted(fields, 'consecutiveGatewayErrors', 'consecutiveGatewayErrors'),
    ...counted(fields, 'consecutiveLocalOriginFailures', 'consecutiveLocalFailures'),
    splitsLocalFailures: fields.flag('splitExternalLocalOriginErrors'),
    ...timed(fields, 'interval', 'interval'),
    ...timed(fields, 'baseEjectionTime', 'baseEjection'),
    ...counted(fields, 'maxEjectionPercent', 'maxEjectionPercent', PERCENT),
    ...counted(fields, 'minHealthPercent', 'minHealthPercent', PERCENT),
  }
}

type BalancingInit = Init<MessageInitShape<typeof BalancingSchema>>

/** SPEC ISTIO-API LoadBalancerSettings.SimpleLB; LEAST_CONN is what LEAST_REQUEST was called. */
const ALGORITHMS = {
  UNSPECIFIED: Balancing_Algorithm.DEFAULT,
  ROUND_ROBIN: Balancing_Algorithm.ROUND_ROBIN,
  LEAST_REQUEST: Balancing_Algorithm.LEAST_REQUEST,
  LEAST_CONN: Balancing_Algorithm.LEAST_REQUEST,
  RANDOM: Balancing_Algorithm.RANDOM,
  PASSTHROUGH: Balancing_Algorithm.PASSTHROUGH,
} as const

function readBalancing(fields: Fields, reading: RouteReading): BalancingInit {
  reading.noteUnserved(fields, { localityLbSetting: 'set trafficDistribution of the Service' })
  const names = Object.keys(ALGORITHMS) as (keyof typeof ALGORITHMS)[] // as: keys of a constant table
  const algorithm = ALGORITHMS[fields.oneOf('simple', names, 'UNSPECIFIED')]
  const warmUp =
    istioDuration(fields.fields('warmup'), 'duration') ?? istioDuration(fields, 'warmupDurationSecs')
  return {
    algorithm,
    ...(warmUp && { warmUp }),
    ...(fields.raw('consistentHash') !== undefined && { hash: readHash(fields.fields('consistentHash')) }),
  }
}

function readHash(fields: Fields): NonNullable<BalancingInit['hash']> {
  const minimum = fields.integer('minimumRingSize', 1, INT32)
  const ring = fields.fields('ringHash').integer('minimumRingSize', 1, INT32) ?? minimum
  const maglev = fields.fields('maglev').integer('tableSize', 1, INT32)
  const table =
    fields.raw('maglev') !== undefined
      ? ({ case: 'maglevSize', value: BigInt(maglev ?? 0) } as const)
      : ({ case: 'ringMinimum', value: BigInt(ring ?? 0) } as const)
  return { key: readKey(fields), table }
}

function readKey(fields: Fields): NonNullable<NonNullable<BalancingInit['hash']>['key'] & object> {
  if (fields.raw('httpCookie') !== undefined) {
    const cookie = fields.fields('httpCookie')
    const ttl = istioDuration(cookie, 'ttl')
    return {
      case: 'cookie',
      value: { name: cookie.text('name'), path: cookie.text('path'), ...(ttl && { ttl }) },
    }
  }
  if (fields.raw('httpQueryParameterName') !== undefined)
    return { case: 'query', value: fields.text('httpQueryParameterName') }
  if (fields.flag('useSourceIp')) return { case: 'sourceIp', value: true }
  return { case: 'header', value: fields.text('httpHeaderName').toLowerCase() }
}
