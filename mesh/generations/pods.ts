// SPDX-License-Identifier: Apache-2.0
// What supervisor, data process and workers say to each other about pods. Descriptors travel beside the messages.

import type { SocketAddress } from '../net/address.ts'
import {
  DNS_PORT,
  HBONE_PORT,
  INBOUND_PLAINTEXT_PORT,
  OUTBOUND_PORT,
  SOCKS5_PORT,
} from '../net/mesh-ports.ts'
import type { PortSet } from '../net/port-set.ts'
import type { NodeHealth } from './node-health.ts'

/** An enrolled pod. `uid` is the pod's own, not the workload's uid of the model. */
export interface PodInfo {
  readonly uid: string
  readonly name: string
  readonly namespace: string
  readonly serviceAccount: string
  /** The only port of it that callers reach; left out: every one. */
  readonly onlyPort?: number
}

/** The listening sockets of a pod, in the order their descriptors travel. */
export const LISTENER_KINDS = [
  'outbound',
  'inbound',
  'passthrough',
  'socks5',
  'dns-tcp',
  'dns-tcp6',
  'dns-udp',
  'dns-udp6',
] as const
/** inbound: HBONE; passthrough: plaintext in; DNS is on loopback. */
export type ListenerKind = (typeof LISTENER_KINDS)[number]

/** Where each of them listens. */
export const LISTENER_PORTS: Readonly<Record<ListenerKind, number>> = {
  outbound: OUTBOUND_PORT,
  inbound: HBONE_PORT,
  passthrough: INBOUND_PLAINTEXT_PORT,
  socks5: SOCKS5_PORT,
  'dns-tcp': DNS_PORT,
  'dns-tcp6': DNS_PORT,
  'dns-udp': DNS_PORT,
  'dns-udp6': DNS_PORT,
}

/** The listening sockets that take datagrams. */
export type DatagramKind = Extract<ListenerKind, `dns-udp${string}`>
export type StreamKind = Exclude<ListenerKind, DatagramKind>

export function isDatagramKind(kind: ListenerKind): kind is DatagramKind {
  return kind === 'dns-udp' || kind === 'dns-udp6'
}

/** Supervisor to data process. */
export type SupervisorMessage =
  /** Descriptors: the network namespace unless `sharesHost`, then one per listener. */
  | {
      readonly type: 'pod-added'
      readonly pod: PodInfo
      readonly listeners: readonly ListenerKind[]
      readonly sharesHost: boolean
    }
  | { readonly type: 'pod-removed'; readonly uid: string }
  /** The pod is not in the mesh any more; what is open may end in its time. Answered by `pod-left`. */
  | { readonly type: 'pod-leaving'; readonly uid: string }
  /** It is back before all that it had open has ended. */
  | { readonly type: 'pod-returned'; readonly uid: string }
  /** Somebody had damaged the redirection of the pod: to be counted. */
  | { readonly type: 'pod-mended'; readonly uid: string }
  /** The guard of strict pods has refused a connection; under many of them not each is told. */
  | {
      readonly type: 'guard-refused'
      readonly uid: string
      readonly source: SocketAddress
      readonly destination: SocketAddress
    }
  /** It has refused so many more, all of them. */
  | { readonly type: 'guard-counted'; readonly uid: string; readonly count: number }
  /** What the supervisor sees of the node, instead of what it said before. */
  | { readonly type: 'node-health'; readonly health: NodeHealth }
  /** Every pod known at start has been sent. */
  | { readonly type: 'snapshot-sent' }
  /** Another data process takes its place: what there can be only one of is left to that one. Answered by `retired`. */
  | { readonly type: 'retire' }
  /**
   * What there can be only one of on a node is its: as the only one, after another one, or again. `isBeside`: the process of
   * another supervisor accepts too.
   */
  | { readonly type: 'lead'; readonly isBeside: boolean }
  /** To `upgrade`; null: it has begun. */
  | { readonly type: 'upgrade-answer'; readonly refusal: string | null }
  /** The others, to be counted: how many drain, broke while they did, never came to serve. */
  | {
      readonly type: 'generations'
      readonly draining: number
      readonly lost: number
      readonly failed: number
    }
  /** Nothing new is accepted; what is open may go on for so long, null: until it ends. Later ones change the time. */
  | { readonly type: 'drain'; readonly seconds: number | null }

/** Data process to supervisor. */
export type DataMessage =
  | { readonly type: 'pod-ready'; readonly uid: string }
  | { readonly type: 'pod-failed'; readonly uid: string; readonly detail: string }
  /** Nothing of it is open any more. */
  | { readonly type: 'pod-left'; readonly uid: string }
  | { readonly type: 'retired' }
  /** An operator wants the next generation. Answered by `upgrade-answer`. */
  | { readonly type: 'upgrade' }
  /** Ports of the pod at which no policy lets plaintext in, whoever sends it: said for each pod, and when it changes. */
  | { readonly type: 'closed-ports'; readonly uid: string; readonly ports: PortSet }
  /** All workers run and all pods of the snapshot are served. */
  | { readonly type: 'ready' }
