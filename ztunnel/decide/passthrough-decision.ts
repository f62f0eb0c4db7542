// SPDX-License-Identifier: Apache-2.0
// Whether an inbound plaintext connection is carried (SPEC HBONE §4.3). Pure; once per connection in a worker.
// Who sent it is not known: policies see an address and no identity.
import { AuthzConnection } from '../../mesh/authz/connection.ts'
import type { Evaluate, Verdict } from '../../mesh/authz/evaluate.ts'
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { InboundView } from '../../mesh/model/inbound.ts'
import type { SocketAddress } from '../../mesh/net/address.ts'
import { isMeshPort } from '../../mesh/net/mesh-ports.ts'
import { type Arrival, decideEntrance, type Entrance } from './entrance.ts'

/** Carry it to its original destination. */
export interface PassthroughDecision {
  readonly kind: 'passthrough'
  readonly dial: SocketAddress
  /** Keep it: when policies change the connection is evaluated again. */
  readonly connection: AuthzConnection
  readonly verdict: Verdict
  readonly entrance: Entrance
  /** What the entrance was decided for. */
  readonly arrival: Arrival
}

/** Decides one connection. `destination` is the original one; IPs are canonical. */
export function decidePassthrough(
  pod: InboundView | null,
  destination: SocketAddress,
  sourceIp: string,
  evaluate: Evaluate,
): PassthroughDecision | Refusal {
  if (isMeshPort(destination.port)) return refuse('CONNECT_INTERNAL_PORT', `port ${destination.port}`)
  if (pod === null) return refuse('WORKLOAD_UNKNOWN', destination.ip)
  const connection = new AuthzConnection(sourceIp, null, destination.ip, destination.port)
  const verdict = evaluate(connection)
  if (!verdict.allowed) return refuse(verdict.code, verdict.detail)
  const arrival = { identity: null, sourceIp, ip: destination.ip, port: destination.port, isDiverted: false }
  const entrance = decideEntrance(pod.guard, arrival)
  if (isRefusal(entrance)) return entrance
  return { kind: 'passthrough', dial: destination, connection, verdict, entrance, arrival }
}
