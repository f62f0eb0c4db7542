// SPDX-License-Identifier: Apache-2.0
// A policy as numbers, with a default for all that it leaves open. Pure. SPEC ISTIO-API DestinationRule.
import type { Duration } from '@bufbuild/protobuf/wkt'
import type {
  Balancing,
  Balancing_Algorithm,
  ConnectionPool,
  ConnectionPool_H2Upgrade,
  ConsistentHash,
  OutlierDetection,
  UpstreamPolicy,
} from '../../proto/generated/sidestep/v1/traffic_policy_pb.js'
import { milliseconds } from './duration.ts'
import {
  MAX_ACTIVE_REQUESTS,
  MAX_PENDING_REQUESTS,
  MAX_UPSTREAM_CONNECTIONS,
  UPSTREAM_CONNECT_TIMEOUT_MS,
  UPSTREAM_IDLE_TIMEOUT_MS,
} from './limits.ts'

/** Limits of the connections of a cluster. */
export interface PoolSettings {
  readonly maxConnections: number
  readonly maxPendingRequests: number
  readonly maxRequests: number
  /** Infinity: any number. */
  readonly maxRequestsPerConnection: number
  /** Infinity: the budget alone says. */
  readonly maxRetries: number
  readonly connectTimeoutMs: number
  readonly idleTimeoutMs: number
  /** Infinity: for ever. */
  readonly maxConnectionMs: number
  /** Requests of HTTP/1.1 go as HTTP/2. */
  readonly upgradesToHttp2: boolean
}

/** When an endpoint is taken out of use; a threshold of 0 is none. */
export interface OutlierSettings {
  readonly consecutive5xx: number
  readonly consecutiveGatewayErrors: number
  readonly consecutiveLocalFailures: number
  /** Failures of ours count by themselves, not as 5xx. */
  readonly splitsLocalFailures: boolean
  readonly intervalMs: number
  readonly baseEjectionMs: number
  readonly maxEjectionPercent: number
}

/** What the key of a request is made of. */
export type HashSource =
  | { readonly kind: 'header'; readonly name: string }
  /** `ttlSeconds` null: no cookie is made for who has none; 0: one for the client’s session. */
  | {
      readonly kind: 'cookie'
      readonly name: string
      readonly path: string
      readonly ttlSeconds: number | null
    }
  | { readonly kind: 'source-ip' }
  | { readonly kind: 'query'; readonly name: string }

/** How an endpoint is chosen. */
export type Algorithm =
  | 'round-robin'
  | 'least-request'
  | 'random'
  /** The endpoint that the caller asked for by its address; any, when it asked for none. */
  | 'passthrough'
  | 'ring-hash'
  | 'maglev'

export interface BalancingSettings {
  readonly algorithm: Algorithm
  readonly hashSource: HashSource | null
  /** Points of the ring, or places of the table. */
  readonly tableSize: number
  /** A new endpoint gets its share over this time; 0: at once. */
  readonly warmUpMs: number
  /** With fewer healthy endpoints than these, all are used. */
  readonly minHealthPercent: number
}

/** Everything a policy says. */
export interface UpstreamSettings {
  readonly pool: PoolSettings
  /** null: no endpoint is ever taken out. */
  readonly outlier: OutlierSettings | null
  readonly balancing: BalancingSettings
}

const DEFAULT_RING_POINTS = 1_024
const DEFAULT_MAGLEV_SIZE = 65_537
// Values of generated enums: the generated code itself would bring its library into every worker.
const ROUND_ROBIN: Balancing_Algorithm = 1
const RANDOM: Balancing_Algorithm = 3
const PASSTHROUGH: Balancing_Algorithm = 4
const UPGRADE: ConnectionPool_H2Upgrade = 2

/** null: nothing is said. */
export function upstreamSettings(policy: UpstreamPolicy | null): UpstreamSettings {
  const outlier = policy?.outlier
  return {
    pool: poolSettings(policy?.pool),
    outlier: outlier === undefined ? null : outlierSettings(outlier),
    balancing: balancingSettings(policy?.balancing, outlier?.minHealthPercent ?? 0),
  }
}

function poolSettings(pool: ConnectionPool | undefined): PoolSettings {
  return {
    maxConnections: limited(pool?.maxConnections, MAX_UPSTREAM_CONNECTIONS),
    maxPendingRequests: limited(pool?.maxPendingRequests, MAX_PENDING_REQUESTS),
    maxRequests: limited(pool?.maxRequests, MAX_ACTIVE_REQUESTS),
    maxRequestsPerConnection: limited(pool?.maxRequestsPerConnection, Number.POSITIVE_INFINITY),
    maxRetries: limited(pool?.maxRetries, Number.POSITIVE_INFINITY),
    connectTimeoutMs: positiveMs(pool?.connectTimeout) ?? UPSTREAM_CONNECT_TIMEOUT_MS,
    // SPEC ISTIO-API: 0 is no timeout.
    idleTimeoutMs:
      pool?.idleTimeout === undefined
        ? UPSTREAM_IDLE_TIMEOUT_MS
        : (positiveMs(pool.idleTimeout) ?? Number.POSITIVE_INFINITY),
    maxConnectionMs: positiveMs(pool?.maxConnectionDuration) ?? Number.POSITIVE_INFINITY,
    upgradesToHttp2: pool?.h2Upgrade === UPGRADE,
  }
}

/** SPEC ISTIO-API OutlierDetection: defaults; limits of Envoy for what is not set. */
function outlierSettings(outlier: OutlierDetection): OutlierSettings {
  return {
    consecutive5xx: outlier.consecutive5xx ?? 5,
    consecutiveGatewayErrors: outlier.consecutiveGatewayErrors ?? 0,
    consecutiveLocalFailures: outlier.splitsLocalFailures ? (outlier.consecutiveLocalFailures ?? 5) : 0,
    splitsLocalFailures: outlier.splitsLocalFailures,
    intervalMs: positiveMs(outlier.interval) ?? 10_000,
    baseEjectionMs: positiveMs(outlier.baseEjection) ?? 30_000,
    maxEjectionPercent: outlier.maxEjectionPercent ?? 10,
  }
}

function balancingSettings(balancing: Balancing | undefined, minHealthPercent: number): BalancingSettings {
  const hash = balancing?.hash
  const hashSource = hash === undefined ? null : hashSourceOf(hash)
  const isMaglev = hash?.table.case === 'maglevSize'
  const hashing: Algorithm = isMaglev ? 'maglev' : 'ring-hash'
  return {
    algorithm: hashSource === null ? algorithmOf(balancing?.algorithm) : hashing,
    hashSource,
    tableSize: Number(hash?.table.value ?? 0) || (isMaglev ? DEFAULT_MAGLEV_SIZE : DEFAULT_RING_POINTS),
    warmUpMs: positiveMs(balancing?.warmUp) ?? 0,
    minHealthPercent,
  }
}

function algorithmOf(algorithm: Balancing_Algorithm | undefined): Algorithm {
  switch (algorithm) {
    case ROUND_ROBIN:
      return 'round-robin'
    case RANDOM:
      return 'random'
    case PASSTHROUGH:
      return 'passthrough'
    default:
      return 'least-request' // SPEC ISTIO-API: what is meant when nothing is said
  }
}

function hashSourceOf({ key }: ConsistentHash): HashSource | null {
  switch (key.case) {
    case 'header':
      return { kind: 'header', name: key.value.toLowerCase() }
    case 'cookie': {
      const { name, path, ttl } = key.value
      const ttlSeconds = ttl === undefined ? null : Math.floor(milliseconds(ttl) / 1000)
      return { kind: 'cookie', name, path, ttlSeconds }
    }
    case 'sourceIp':
      return { kind: 'source-ip' }
    case 'query':
      return { kind: 'query', name: key.value }
    default:
      return null
  }
}

/** SPEC ISTIO-API: 0 is written by who means the default. */
function limited(value: number | undefined, none: number): number {
  return value === undefined || value === 0 ? none : value
}

function positiveMs(duration: Duration | undefined): number | null {
  const ms = milliseconds(duration)
  return ms > 0 ? ms : null
}
