// SPDX-License-Identifier: Apache-2.0
// What only the supervisor of a node sees, for the metrics and the readiness of the data process.
import type { ReasonCode } from '../errors/reasons.ts'

/** How many times, by reason. */
export type ReasonCounts = Readonly<Partial<Record<ReasonCode, number>>>

/** The agent that says which pods there are (ZDS). */
export interface AgentHealth {
  /** It is connected and has named all pods. */
  readonly isSynced: boolean
  /** Ends of connections to it, since the supervisor began. */
  readonly failures: ReasonCounts
}

/** A connection table of the kernel at one moment. */
export interface ConntrackReading {
  readonly entryCount: number
  /** 0: no limit. */
  readonly maxEntries: number
  /** Since the kernel counts, over all CPUs; wraps at 32 bits each. */
  readonly lostCount: number
}

/** That of a pod. */
export interface PodConntrack extends ConntrackReading {
  readonly namespace: string
  readonly pod: string
}

/** All of it, as it is now. */
export interface NodeHealth {
  /** Of the node itself; null: it has none, or it cannot be seen. */
  readonly conntrack: ConntrackReading | null
  /** Of pods that are full or have lost something. */
  readonly podConntrack: readonly PodConntrack[]
  /** null: no such agent is configured. */
  readonly agent: AgentHealth | null
  /** Pods that belong to the mesh and could not be enrolled; null: nobody follows the apiserver. */
  readonly notEnrolled: ReasonCounts | null
}

/** Before the supervisor has said anything. */
export const UNKNOWN_HEALTH: NodeHealth = {
  ...{ agent: null, notEnrolled: null, conntrack: null, podConntrack: [] },
}
