// SPDX-License-Identifier: Apache-2.0
// Which failures of a connect another endpoint may not have. Nothing of the application was sent before the other side said
// 200, and nothing after it where this is asked again: so every attempt may be repeated; what the next endpoint would answer
// as well is not.
import type { ReasonCode } from '../../mesh/errors/reasons.ts'

/** Failures of one endpoint, of its node, or of the way to it. */
const OF_THE_ENDPOINT: ReadonlySet<ReasonCode> = new Set<ReasonCode>([
  'ENDPOINT_REFUSED',
  'ENDPOINT_GONE',
  'HBONE_PORT_BLOCKED',
  'HBONE_PORT_REFUSED',
  'CONNECT_TIMEOUT',
  'NETWORK_UNREACHABLE',
  'CONNECT_FAILED',
  'TLS_HANDSHAKE',
  'TLS_BROKEN',
  'HANDSHAKE_TIMEOUT',
  // Its address is another pod's by now, or its certificate is of no use.
  'IDENTITY_MISMATCH',
  'TRUST_DOMAIN',
  'CERT_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_REVOKED',
  'CERT_INVALID',
  'CERT_MISSING',
  'TUNNEL_RESET',
  'TUNNEL_REFUSED',
  'STREAM_RESET',
  'PEER_RESET',
  'PEER_UNRESPONSIVE',
  'DRAIN',
  'SHUTDOWN',
  'WORKER_LOST',
  'NAMESPACE_GONE',
])

/** True when another endpoint may do better. */
export function isOfTheEndpoint(code: ReasonCode): boolean {
  return OF_THE_ENDPOINT.has(code)
}
