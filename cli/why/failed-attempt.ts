// SPDX-License-Identifier: Apache-2.0
// What the last attempts of a pair failed by, when nothing in the configuration says that they should: ports that are
// blocked, applications that do not listen, networks. Pure.
import { REASONS, type ReasonCode } from '../../mesh/errors/reasons.ts'
import type { OutboundFacts } from '../../ztunnel/decide/outbound-facts.ts'
import type { FailedAttempt, PairAttempts } from '../../ztunnel/decide/pair-attempts.ts'
import type { AnsweredWay, PairFinding, PairHop } from './pair-facts.ts'

/** An attempt that failed longer ago says nothing about now. */
const RECENT_MS = 300_000

/**
 * Where each of these stops a connection. Codes that are not here are those the configuration and certificates of now were
 * asked about, or ends of connections that stood: a past one is no cause.
 */
const HOPS: Readonly<Partial<Record<ReasonCode, PairHop>>> = {
  CONNECT_FAILED: 'network',
  CONNECT_TIMEOUT: 'network',
  HANDSHAKE_TIMEOUT: 'network',
  HBONE_PORT_BLOCKED: 'network',
  HBONE_PORT_REFUSED: 'destination',
  NETWORK_UNREACHABLE: 'network',
  PEER_UNRESPONSIVE: 'network',
  TLS_BROKEN: 'network',
  TLS_HANDSHAKE: 'network',
  TUNNEL_RESET: 'network',
  CERT_MISSING: 'source',
  CERT_REVOKED: 'source',
  IDENTITY_MISMATCH: 'destination',
  WAYPOINT_UNREACHABLE: 'waypoint',
  STREAM_RESET: 'destination',
  TUNNEL_REFUSED: 'destination',
  H2_FLOOD: 'destination',
  H2_PROTOCOL: 'destination',
  LIMIT_CONNECTION: 'destination',
  LIMIT_NODE: 'destination',
  LIMIT_POD: 'destination',
  ENDPOINT_GONE: 'application',
  ENDPOINT_REFUSED: 'application',
  MODEL_TIMEOUT: 'source',
  OUT_OF_DESCRIPTORS: 'source',
}
/** What the caller's node says when the destination's node knows better. */
const HEARSAY: readonly ReasonCode[] = [
  'STREAM_RESET',
  'TUNNEL_REFUSED',
  'TUNNEL_RESET',
  'TLS_BROKEN',
  'TLS_HANDSHAKE',
]

/** What fails now; null: nothing did lately, or it has succeeded since. */
export function failedAttempt(outbound: OutboundFacts, ways: readonly AnsweredWay[]): PairFinding | null {
  const failed = recent(outbound.attempts, outbound.health.nowMs)
  const far = ways.flatMap(({ inbound }) => {
    const each = inbound === null ? null : recent(inbound.attempts, inbound.health.nowMs)
    return each === null ? [] : [each]
  })[0]
  // Without an attempt at the caller's end (it is not enrolled) the destination's is all there is.
  const isHeardOnly =
    failed === null
      ? outbound.attempts.succeededMs === null
      : HEARSAY.includes(failed.code) || far?.code === 'WAYPOINT_UNREACHABLE'
  const told = isHeardOnly ? (far ?? failed) : failed
  const hop = told === null ? undefined : HOPS[told.code]
  if (told === null || hop === undefined) return null
  const node = told === far ? ways.find(({ inbound }) => inbound !== null)?.way.destination?.name : undefined
  const agoMs = outbound.health.nowMs - told.timeMs
  const times = told === failed ? `, ${outbound.attempts.failedCount} since the last that succeeded` : ''
  const detail = `the last attempt failed ${Math.max(0, Math.round(agoMs / 1000))} s ago${times}: ${told.detail || told.code}`
  const where = node ?? (hop === 'source' ? (outbound.source?.name ?? '') : (outbound.target?.name ?? ''))
  return { code: told.code, hop, where, detail, fix: REASONS[told.code].fix, policy: told.policy }
}

/** What the name of a destination outside the mesh fails by; null: nothing that is known. */
export function failedQuestion({ target, dnsFailure, health }: OutboundFacts): PairFinding | null {
  const agoMs = health.nowMs - (dnsFailure?.timeMs ?? Number.NEGATIVE_INFINITY)
  if (dnsFailure === null || target === null || target.ip !== '' || agoMs >= RECENT_MS) return null
  const { code, detail: cause } = dnsFailure
  const detail = `the resolver of the pod did not answer ${Math.max(0, Math.round(agoMs / 1000))} s ago: ${cause}`
  return { code, hop: 'name', where: target.name, detail, fix: REASONS[code].fix, policy: '' }
}

function recent({ failed }: PairAttempts, nowMs: number): FailedAttempt | null {
  return failed !== null && nowMs - failed.timeMs < RECENT_MS ? failed : null
}
