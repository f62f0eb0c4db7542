// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  MAX_ACTIVE_REQUESTS,
  MAX_PENDING_REQUESTS,
  MAX_UPSTREAM_CONNECTIONS,
  UPSTREAM_CONNECT_TIMEOUT_MS,
  UPSTREAM_IDLE_TIMEOUT_MS,
} from '../../../waypoint/upstream/limits.ts'
import { upstreamSettings } from '../../../waypoint/upstream/upstream-settings.ts'
import { policy } from '../../support/upstream-lab.ts'

const seconds = (value: number) => ({ seconds: BigInt(Math.floor(value)), nanos: (value % 1) * 1e9 })

t.test('nothing said: bounded pools, least request, nobody is ejected', async (t) => {
  const settings = upstreamSettings(null)
  t.same(settings, upstreamSettings(policy({})))
  t.same(settings.pool, {
    maxConnections: MAX_UPSTREAM_CONNECTIONS,
    maxPendingRequests: MAX_PENDING_REQUESTS,
    maxRequests: MAX_ACTIVE_REQUESTS,
    maxRequestsPerConnection: Number.POSITIVE_INFINITY,
    maxRetries: Number.POSITIVE_INFINITY,
    connectTimeoutMs: UPSTREAM_CONNECT_TIMEOUT_MS,
    idleTimeoutMs: UPSTREAM_IDLE_TIMEOUT_MS,
    maxConnectionMs: Number.POSITIVE_INFINITY,
    upgradesToHttp2: false,
  })
  t.equal(settings.outlier, null)
  t.equal(settings.balancing.algorithm, 'least-request')
})

t.test('pools: everything that is said, 0 as nothing said, no idle timeout as none', async (t) => {
  const said = { maxConnections: 1, maxPendingRequests: 2, maxRequests: 3, maxRequestsPerConnection: 4 }
  const { pool } = upstreamSettings(
    policy({
      pool: {
        ...said,
        ...{ maxRetries: 5, connectTimeout: seconds(0.25), idleTimeout: seconds(0), h2Upgrade: 2 },
        maxConnectionDuration: seconds(90),
      },
    }),
  )
  t.same(pool, {
    ...said,
    ...{ maxRetries: 5, connectTimeoutMs: 250, idleTimeoutMs: Number.POSITIVE_INFINITY },
    ...{ maxConnectionMs: 90_000, upgradesToHttp2: true },
  })
  t.equal(
    upstreamSettings(policy({ pool: { maxConnections: 0 } })).pool.maxConnections,
    MAX_UPSTREAM_CONNECTIONS,
  )
  t.equal(upstreamSettings(policy({ pool: { idleTimeout: seconds(7) } })).pool.idleTimeoutMs, 7_000)
})

t.test('outlier detection: Istio’s defaults once there is any', async (t) => {
  const defaults = {
    ...{ consecutive5xx: 5, consecutiveGatewayErrors: 0, consecutiveLocalFailures: 0 },
    ...{ splitsLocalFailures: false, intervalMs: 10_000, baseEjectionMs: 30_000, maxEjectionPercent: 10 },
  }
  t.same(upstreamSettings(policy({ outlier: {} })).outlier, defaults)
  t.same(upstreamSettings(policy({ outlier: { splitsLocalFailures: true } })).outlier, {
    ...defaults,
    ...{ splitsLocalFailures: true, consecutiveLocalFailures: 5 },
  })
  const said = { consecutive5xx: 0, consecutiveGatewayErrors: 7, maxEjectionPercent: 0, minHealthPercent: 40 }
  const settings = upstreamSettings(
    policy({ outlier: { ...said, interval: seconds(1), baseEjection: seconds(2) } }),
  )
  t.same(settings.outlier, {
    ...defaults,
    ...{ consecutive5xx: 0, consecutiveGatewayErrors: 7, maxEjectionPercent: 0 },
    ...{ intervalMs: 1_000, baseEjectionMs: 2_000 },
  })
  t.equal(settings.balancing.minHealthPercent, 40)
})

t.test('balancing: algorithms, keys and tables', async (t) => {
  const algorithm = (value: number) =>
    upstreamSettings(policy({ balancing: { algorithm: value } })).balancing.algorithm
  t.same([0, 1, 2, 3, 4].map(algorithm), [
    'least-request',
    'round-robin',
    'least-request',
    'random',
    'passthrough',
  ])
  const hash = (value: Parameters<typeof policy>[0]) => upstreamSettings(policy(value)).balancing
  const header = { case: 'header', value: 'X-User' } as const
  const plain = hash({ balancing: { algorithm: 1, hash: { key: header } } })
  t.same([plain.algorithm, plain.tableSize], ['ring-hash', 1_024])
  t.same(plain.hashSource, { kind: 'header', name: 'x-user' })
  const table = (entry: { case: 'ringMinimum' | 'maglevSize'; value: bigint }) =>
    hash({ balancing: { hash: { key: header, table: entry } } })
  t.equal(table({ case: 'ringMinimum', value: 64n }).tableSize, 64)
  t.equal(table({ case: 'maglevSize', value: 0n }).tableSize, 65_537)
  t.equal(table({ case: 'maglevSize', value: 101n }).algorithm, 'maglev')
  const cookie = { name: 'c', path: '/x' }
  const source = (key: NonNullable<NonNullable<Parameters<typeof policy>[0]['balancing']>['hash']>['key']) =>
    hash({ balancing: { hash: key === undefined ? {} : { key } } }).hashSource
  t.same(source({ case: 'cookie', value: cookie }), { kind: 'cookie', ...cookie, ttlSeconds: null })
  t.same(source({ case: 'cookie', value: { ...cookie, ttl: seconds(90) } }), {
    kind: 'cookie',
    ...cookie,
    ttlSeconds: 90,
  })
  t.same(source({ case: 'sourceIp', value: true }), { kind: 'source-ip' })
  t.same(source({ case: 'query', value: 'q' }), { kind: 'query', name: 'q' })
  t.equal(source(undefined), null, 'a hash of nothing is none')
})

t.test('what is read can be sent between threads', async (t) => {
  const sent = structuredClone(policy({ pool: { connectTimeout: seconds(3) }, balancing: { algorithm: 1 } }))
  t.equal(upstreamSettings(sent).pool.connectTimeoutMs, 3_000)
  t.equal(upstreamSettings(sent).balancing.algorithm, 'round-robin')
})
