// SPDX-License-Identifier: Apache-2.0
// What one workload may have of its node, as configured.
import type { Keepalive } from '../../mesh/reactor/socket-options.ts'
import type { TurnLimits } from '../../mesh/reactor/turn-share.ts'
import { keepaliveOf, type ZtunnelConfig } from '../config.ts'

/** Limits of every pod; all at least 1. */
export interface WorkloadLimits {
  /** Connections and tunnels open at once, in and out, all workers together. */
  readonly connections: number
  /** New ones each second; as many may come at once. */
  readonly connectionsPerSecond: number
  /** TLS handshakes of peers each second; as many may come at once. */
  readonly handshakesPerSecond: number
  /** Received bytes that one worker holds for what the pod does not read. */
  readonly bufferedBytes: number
  /** How long one half of a connection may stay open alone without moving a byte; Infinity: for ever. */
  readonly halfCloseMs: number
  /** When who is silent is gone. */
  readonly keepalive: Keepalive
  /** What a turn of a worker has for its pods. */
  readonly turn: TurnLimits
}

/** The limits that the options ask for. */
export function workloadLimits(config: ZtunnelConfig): WorkloadLimits {
  return {
    connections: config.podConnections,
    connectionsPerSecond: config.podConnectionsPerSecond,
    handshakesPerSecond: config.podHandshakesPerSecond,
    bufferedBytes: config.podBufferedBytes,
    halfCloseMs: config.halfCloseSeconds === 0 ? Number.POSITIVE_INFINITY : config.halfCloseSeconds * 1000,
    keepalive: keepaliveOf(config),
    turn: { companyBytes: config.turnBytes, handshakeSteps: config.turnHandshakes },
  }
}
