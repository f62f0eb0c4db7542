// SPDX-License-Identifier: Apache-2.0
// What main and the workers of a waypoint say to each other.
import type { AcceptShareMemory } from '../mesh/reactor/accept-share.ts'
import type { CounterLabels } from '../mesh/telemetry/counters.ts'
import type { TokenRule } from '../proto/generated/sidestep/v1/request_policies_pb.js'
import type { CallerLabels } from './model/caller-labels.ts'
import type { ClusterFacts, TargetView } from './model/views.ts'
import type { TapFilter } from './records/tap-filter.ts'
import type { TokenVerdict } from './tokens/token-verifier.ts'
import type { ClusterStatus } from './upstream/cluster.ts'

/** What a worker is started with. */
export interface WorkerData {
  readonly index: number
  readonly acceptShare: AcceptShareMemory
  /** Eventfds of all workers, by index. */
  readonly wakeFds: readonly number[]
  readonly counters: SharedArrayBuffer
  readonly requestCounters: SharedArrayBuffer
  readonly records: SharedArrayBuffer
  /** As the options have them. */
  readonly accessLog: string
  readonly accessLogFormat: string
  /** null: nobody traces. */
  readonly tracesPerMillion: number | null
  /** 0: none. */
  readonly bodyTimeoutMs: number
  /** SPIFFE id of the waypoint. */
  readonly identity: string
  readonly trustDomain: string
  /** What it says of itself in CONNECTs. */
  readonly baggage: string
}

/** Main to worker. */
export type DownMessage =
  /** A listening socket, main's: it is accepted from. Answered by `listening`. */
  | { readonly type: 'listen'; readonly fd: number }
  | {
      readonly type: 'certificate'
      readonly identity: string
      readonly chainPem: readonly string[]
      readonly privateKeyPem: string
      readonly rootsPem: readonly string[]
      readonly trustBundleId: string
    }
  /** For `new RevokedSet()`. Before the first certificate. */
  | { readonly type: 'revoked'; readonly memory: SharedArrayBuffer }
  /** What was asked for, or asked for before and has changed. */
  | { readonly type: 'target'; readonly view: TargetView }
  | { readonly type: 'cluster'; readonly facts: ClusterFacts }
  | { readonly type: 'caller'; readonly key: string; readonly labels: CallerLabels }
  | { readonly type: 'token'; readonly key: string; readonly verdict: TokenVerdict }
  /** What readers of requests want; none: nobody reads. */
  | { readonly type: 'tap'; readonly filters: readonly TapFilter[] }
  | { readonly type: 'report'; readonly request: number }
  /** There are new instances: so much of what callers hold open is due to them. */
  | { readonly type: 'shed'; readonly part: number }
  /** What starting has left in memory is of no more use. */
  | { readonly type: 'trim-memory' }
  | { readonly type: 'drain' }
  | { readonly type: 'stop'; readonly reason: 'DRAIN' | 'SHUTDOWN' }

/** A worker's live state. */
export interface WorkerReport {
  readonly clusters: readonly ClusterStatus[]
  readonly tunnels: number
  readonly exchanges: number
  /** Since its start. */
  readonly retryTotal: number
  readonly mirrorTotal: number
}

/** Worker to main. */
export type UpMessage =
  | { readonly type: 'listening' }
  /** It drains, and does not use the listening socket any more. */
  | { readonly type: 'not-listening' }
  | { readonly type: 'resolve-target'; readonly authority: string }
  | { readonly type: 'resolve-cluster'; readonly name: string }
  /** Answered by `caller` with the same key. */
  | {
      readonly type: 'resolve-caller'
      readonly key: string
      readonly identity: string
      readonly ip: string
    }
  /** Answered by `token` with the same key. */
  | {
      readonly type: 'verify-token'
      readonly key: string
      readonly token: string
      readonly rules: readonly TokenRule[]
    }
  | { readonly type: 'labels'; readonly slot: number; readonly labels: CounterLabels }
  | { readonly type: 'request-labels'; readonly slot: number; readonly labels: string }
  | { readonly type: 'report'; readonly request: number; readonly report: WorkerReport }
  | {
      readonly type: 'log'
      readonly level: 'warn' | 'error' | 'info'
      readonly message: string
      readonly fields: Readonly<Record<string, string | number>>
    }
  /** Pages of Node's program may have been touched for the last time. */
  | { readonly type: 'pages-unused' }
  /** It had work in the last seconds. */
  | { readonly type: 'busy' }
  | { readonly type: 'drained' }
