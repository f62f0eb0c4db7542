// SPDX-License-Identifier: Apache-2.0
// How pods go from one supervisor to the next one without a connection that notices. Names and messages of both sides.
//
// A supervisor that has died: its data process goes on serving, and waits on a socket for the next supervisor, which is
// given every pod with its descriptors and takes the process over.
// A supervisor that lives, as in an update: the next one asks it on a socket of its own, is given the same, starts a data
// process beside the old one on the same listening sockets, and says when that one serves. Then the old one drains.
import type { ListenerKind, PodInfo } from './pods.ts'

/** A data process that nobody takes over for this long drains and ends: its pods would be nobody's. */
export const ORPHAN_WAIT_MS = 10_000
/** A supervisor waits this long for a data process that still believes in another supervisor. */
export const OWNER_WAIT_MS = 1_000
/** The pods of a node come within this, or the data process is of no use any more. */
export const ADOPTION_TIMEOUT_MS = 2_000

/** A supervisor that was asked answers within this, or is of no use any more. */
export const HANDOVER_TIMEOUT_MS = 5_000
/** A data process has made room for the next one within this. */
export const RETIRE_TIMEOUT_MS = 1_000
/** From the pods until the next supervisor serves them; then the old one goes on as if it had not been asked. */
export const SERVING_TIMEOUT_MS = 20_000
/** A next supervisor that was too slow lets go of the pods within this, or the old one goes on beside it. */
export const LET_GO_TIMEOUT_MS = 5_000
/** Of these messages. Another one is not understood, and nothing is handed over. */
export const HANDOVER_VERSION = 1

/** Where a supervisor can be asked for its pods. */
export function supervisorSocket(adminSocket: string): string {
  return `${adminSocket}.supervisor`
}

/**
 * Where a supervisor answers that it leads the node while it gives the pods to the next one, which does not listen yet: a third one
 * would find nobody, and lead as well.
 */
export function givingSocket(supervisorPath: string): string {
  return `${supervisorPath}.giving`
}

/** Where a data process waits for the next supervisor. */
export function handoverSocket(adminSocket: string): string {
  return `${adminSocket}.handover`
}

/** A supervisor to the one that serves the node. */
export type TakeMessage =
  | { readonly type: 'take'; readonly version: number }
  /** Its own data process serves all of them. */
  | { readonly type: 'serving' }

/** Data process, or supervisor, to the supervisor that has connected. */
export type HandoverMessage =
  /** Not now: it has a supervisor, which lives; or it is being asked by another one. After `pods-kept`: not any more. */
  | { readonly type: 'owned' }
  /** Descriptors as beside `pod-added`: here as there in the order of the listeners. */
  | {
      readonly type: 'pod-kept'
      readonly pod: PodInfo
      readonly listeners: readonly ListenerKind[]
      readonly sharesHost: boolean
    }
  /** That were all; from here on it is the channel between a supervisor and its data process. */
  | { readonly type: 'pods-kept' }
