// SPDX-License-Identifier: Apache-2.0
// Messages between the data process's main thread and its reactor workers. Plain structured-clonable data.

import type { ReasonCode } from '../mesh/errors/reasons.ts'
import type { Refusal } from '../mesh/errors/refusal.ts'
import type { ListenerKind, PodInfo } from '../mesh/generations/pods.ts'
import type { Reporter } from '../mesh/identity/revoked-peers.ts'
import type { DestinationView } from '../mesh/model/destination.ts'
import type { Policy } from '../mesh/model/policy.ts'
import type { WorkloadFacts } from '../mesh/model/workload-facts.ts'
import type { SocketAddress } from '../mesh/net/address.ts'
import type { AcceptShareMemory } from '../mesh/reactor/accept-share.ts'
import type { PresentedCertificate } from '../mesh/reactor/presented-certificate.ts'
import type { CounterLabels } from '../mesh/telemetry/counters.ts'
import type { GraceSettings } from './carry/grace-peers.ts'
import type { DemotionMessage } from './carry/node-demotions.ts'
import type { TunnelCertificates } from './carry/tunnel-certificates.ts'
import type { NumberedInbound } from './carry/worker-policies.ts'
import type { WorkloadLimits } from './carry/workload-limits.ts'
import type { NameVerdict } from './dns/name-verdicts.ts'

/** What a worker is started with. */
export interface WorkerData {
  readonly index: number
  readonly acceptShare: AcceptShareMemory
  /** Eventfds of all workers, by index. */
  readonly wakeFds: readonly number[]
  readonly counters: SharedArrayBuffer
  /** For `new Latencies()`. */
  readonly latencies: SharedArrayBuffer
  readonly records: SharedArrayBuffer
  /** For `new StreamCounts()`. */
  readonly streamCounts: SharedArrayBuffer
  /** Connections that become spans, of a million; null: nobody traces. */
  readonly tracesPerMillion: number | null
  readonly originalSource: boolean
  readonly socks5: boolean
  readonly limits: WorkloadLimits
  /** Received bytes that it may hold for what its pods do not read. */
  readonly bufferedBytes: number
  readonly network: string
  /** null: who has an expired certificate is refused. */
  readonly grace: GraceSettings | null
}

/** A pod as a worker serves it. */
export interface PodMessage {
  readonly type: 'pod'
  readonly pod: PodInfo
  /** Number used in accept hand-overs: the same in every worker. */
  readonly number: number
  /** Descriptor of the namespace, owned by main; null when the pod shares the host's. */
  readonly namespaceFd: number | null
  readonly listeners: ReadonlyMap<ListenerKind, number>
  /** For `new PodAccount()`: the same in every worker. */
  readonly account: SharedArrayBuffer
  /** null: enrolled but not configured. */
  readonly inbound: NumberedInbound | null
}

/** Main to worker. */
export type DownMessage =
  | PodMessage
  /** What another worker has found out. */
  | DemotionMessage
  /** Before the first pod that names them. */
  | { readonly type: 'policies'; readonly policies: ReadonlyMap<number, Policy> }
  | { readonly type: 'policies-removed'; readonly numbers: readonly number[] }
  | { readonly type: 'pod-removed'; readonly uid: string }
  /** Nobody is redirected to the pod's listeners any more; what is open may end in its time. Answered by `pod-left`. */
  | { readonly type: 'pod-leaving'; readonly uid: string }
  /** It leaves no more: new connections are taken again. */
  | { readonly type: 'pod-returned'; readonly uid: string }
  /** A plaintext connection that was refused before it reached the pod: to be recorded. */
  | {
      readonly type: 'guard-refused'
      readonly uid: string
      readonly source: SocketAddress
      readonly destination: SocketAddress
    }
  | {
      readonly type: 'certificate'
      readonly identity: string
      readonly chainPem: readonly string[]
      readonly privateKeyPem: string
      readonly rootsPem: readonly string[]
      readonly trustBundleId: string
    }
  | { readonly type: 'certificate-forgotten'; readonly identity: string }
  /** For `new RevokedSet()`. Before the first certificate. */
  | { readonly type: 'revoked'; readonly memory: SharedArrayBuffer }
  /** Slots of StreamCounts. Before anything that names these instances. */
  | { readonly type: 'stream-slots'; readonly slots: ReadonlyMap<string, number> }
  | { readonly type: 'destination'; readonly uid: string; readonly view: DestinationView }
  /** Nobody said what there is. Not kept: the next connection asks again. */
  | {
      readonly type: 'destination-unknown'
      readonly uid: string
      readonly ip: string
      readonly port: number
      readonly refusal: Refusal
    }
  | {
      readonly type: 'host'
      readonly uid: string
      readonly host: string
      /** null: no such name. */
      readonly ip: string | null
    }
  | {
      readonly type: 'dns'
      readonly uid: string
      readonly name: string
      readonly queryType: number
      readonly verdict: NameVerdict
    }
  /** Nobody answers what this pod asks its resolver: say when somebody does. */
  | { readonly type: 'dns-failing'; readonly uid: string }
  | {
      readonly type: 'caller'
      readonly ip: string
      /** null: no workload has that address. */
      readonly workload: WorkloadFacts | null
    }
  /** Everything learnt of addresses before this version is void. */
  | { readonly type: 'model'; readonly version: number }
  /** All of this version has been sent: say so when it is in force. */
  | { readonly type: 'confirm-model'; readonly version: number }
  | { readonly type: 'report'; readonly what: ReportKind; readonly request: number }
  /** Somebody listens to events, or nobody any more. */
  | { readonly type: 'tap'; readonly isOn: boolean }
  /** Payload of a pod goes into the ring of this memory from now on; null: no more. */
  | { readonly type: 'capture'; readonly uid: string; readonly memory: SharedArrayBuffer | null }
  /** Start-up is over: collect its garbage once. */
  | { readonly type: 'trim-memory' }
  | { readonly type: 'drain' }
  | { readonly type: 'stop'; readonly reason: 'DRAIN' | 'SHUTDOWN' }

/** A live connection as the admin API shows it. */
export interface ConnectionReport {
  readonly worker: number
  readonly uid: string
  readonly direction: 'outbound' | 'inbound'
  readonly source: string
  readonly destination: string
  readonly protocol: 'HBONE' | 'TCP' | 'LOCAL'
  readonly peer: string
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly ageMs: number
}

/** What a drain waits for in a worker. */
export interface HolderReport {
  /** The oldest ones, MAX_HOLDERS of them. */
  readonly connections: readonly ConnectionReport[]
  readonly connectionCount: number
  /** Tunnels of peers that have not closed them yet. */
  readonly tunnelCount: number
}

/** What a worker can be asked for. */
export interface WorkerReports {
  readonly connections: readonly ConnectionReport[]
  /** What the next handshake of each identity presents. */
  readonly certificates: readonly PresentedCertificate[]
  readonly tunnels: readonly TunnelCertificates[]
  readonly turns: TurnReport
  readonly holders: HolderReport
}
export type ReportKind = keyof WorkerReports

/** How a worker's loop fares. */
export interface TurnReport {
  /** Longest turn since the last report, without the wait. */
  readonly longestTurnMs: number
  /** Most CPU time that one turn took since the last report; null: it was not measured, and is from now on. */
  readonly longestTurnCpuMs: number | null
  /** Longest collection of the idle loop since the last report. */
  readonly longestTrimMs: number
  readonly turnCount: number
  readonly busyMs: number
}

/** Worker to main. */
export type UpMessage =
  /** For the other workers. */
  | DemotionMessage
  | { readonly type: 'resolve'; readonly uid: string; readonly ip: string; readonly port: number }
  | { readonly type: 'resolve-host'; readonly uid: string; readonly host: string }
  | {
      readonly type: 'resolve-dns'
      readonly uid: string
      readonly name: string
      readonly queryType: number
    }
  | { readonly type: 'resolve-caller'; readonly ip: string }
  | { readonly type: 'labels'; readonly slot: number; readonly labels: CounterLabels }
  | { readonly type: 'pod-ready'; readonly uid: string }
  | { readonly type: 'pod-failed'; readonly uid: string; readonly detail: string }
  | { readonly type: 'pod-left'; readonly uid: string }
  | { readonly type: 'model-in-force'; readonly version: number }
  /** A peer was turned away because its certificate is revoked. */
  | { readonly type: 'peer-revoked'; readonly reporter: Reporter }
  /** An endpoint failed before a byte was sent, another one is tried. */
  | { readonly type: 'connect-retried'; readonly reason: ReasonCode }
  /** Nobody answers what a pod asks its resolver; again and again, but not each time. */
  | {
      readonly type: 'dns-failed'
      readonly uid: string
      readonly code: ReasonCode
      readonly detail: string
    }
  /** Its resolver has answered since. */
  | { readonly type: 'dns-recovered'; readonly uid: string }
  /** A tunnel stands although the certificate of its peer has expired. */
  | { readonly type: 'peer-in-grace'; readonly identity: string }
  | { readonly type: 'report'; readonly request: number; readonly answer: WorkerReports[ReportKind] }
  | {
      readonly type: 'log'
      readonly level: 'warn' | 'error' | 'info'
      readonly message: string
      readonly fields: Readonly<Record<string, string | number>>
    }
  /** After a collection: main lets go of pages of files, which takes milliseconds. */
  | { readonly type: 'pages-unused' }
  /** It had work in the last seconds. */
  | { readonly type: 'busy' }
  | { readonly type: 'drained' }
  /** Of a pod that another generation has: the worker uses the sockets that new connections and questions come to no more. */
  | { readonly type: 'sockets-left'; readonly uid: string }
