// SPDX-License-Identifier: Apache-2.0
// How Envoy's access log and Istio's metrics of requests call what went wrong (`%RESPONSE_FLAGS%`, `response_flags`): alerts are
// written on these. A connection has the flag of its row in reasons.ts; a request has this one. SPEC ENVOY access log.
import { REASONS, type ReasonCode, type ResponseFlag } from './reasons.ts'

/** What a proxy of requests says; `-`: nothing went wrong here. */
export type RequestFlag =
  | '-'
  /** No endpoint that could be asked. */
  | 'UH'
  /** The endpoint could not be reached. */
  | 'UF'
  /** A limit of connections or requests. */
  | 'UO'
  /** The endpoint ended the connection before the answer was whole. */
  | 'UC'
  /** The endpoint reset the request. */
  | 'UR'
  /** The time of the request was up. */
  | 'UT'
  /** The endpoint answered what is no answer. */
  | 'UPE'
  /** No route. */
  | 'NR'
  /** No such cluster. */
  | 'NC'
  /** A fault that was asked for: an answer. */
  | 'FI'
  /** A policy or a token. */
  | 'RBAC'
  /** The caller broke the protocol. */
  | 'DPE'
  /** No bytes for too long. */
  | 'SI'
  /** We ended it. */
  | 'LR'

const OF_CODE: Partial<Readonly<Record<ReasonCode, RequestFlag>>> = {
  NO_ENDPOINT: 'UH',
  NO_SUCH_PORT: 'UH',
  TUNNEL_RESET: 'UC',
  TLS_BROKEN: 'UC',
  PEER_RESET: 'UC',
  PEER_UNRESPONSIVE: 'UC',
  STREAM_RESET: 'UR',
  IDLE_TIMEOUT: 'SI',
  HTTP_BODY_TIMEOUT: 'SI',
  HALF_CLOSE_TIMEOUT: 'SI',
  DRAIN: 'LR',
  SHUTDOWN: 'LR',
  WORKER_LOST: 'LR',
  LIMIT_CONNECTION: 'UO',
  LIMIT_POD: 'UO',
  LIMIT_NODE: 'UO',
  OUT_OF_DESCRIPTORS: 'UO',
  UPSTREAM_OVERFLOW: 'UO',
  UPSTREAM_PROTOCOL: 'UPE',
  HTTP_BODY_LENGTH: 'UPE',
  ROUTE_NOT_FOUND: 'NR',
  TARGET_UNSERVED: 'NR',
  ROUTE_BROKEN: 'NC',
  HOSTNAME_UNKNOWN: 'NC',
  FAULT_INJECTED: 'FI',
  REQUEST_TIMEOUT: 'UT',
  JWT_INVALID: 'RBAC',
  JWT_UNVERIFIABLE: 'RBAC',
}

/** Flags of connections, as the way to an endpoint shows them in a request. */
const OF_CONNECTION: Partial<Readonly<Record<ResponseFlag, RequestFlag>>> = {
  CONNECT: 'UF',
  TLS_FAILURE: 'UF',
  NETWORK_POLICY: 'UF',
  IDENTITY_ERROR: 'UF',
  CERT_REVOKED: 'UF',
  DENY: 'RBAC',
}

/** The flag of a request that ended so. */
export function requestFlag(code: ReasonCode): RequestFlag {
  const known = OF_CODE[code] ?? OF_CONNECTION[REASONS[code].responseFlag]
  if (known !== undefined) return known
  return code.startsWith('HTTP') || code.startsWith('H2_') || code === 'PATH_AMBIGUOUS' ? 'DPE' : '-'
}
