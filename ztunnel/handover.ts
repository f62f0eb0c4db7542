// SPDX-License-Identifier: Apache-2.0
// How a data process outlives its supervisor: it goes on serving, and waits on a socket for the next one, which is given
// every pod with its descriptors and takes the process over. Names and messages of both sides.
import type { ListenerKind, PodInfo } from './pods.ts'

/** A data process that nobody takes over for this long drains and ends: its pods would be nobody's. */
export const ORPHAN_WAIT_MS = 10_000
/** A supervisor waits this long for a data process that still believes in another supervisor. */
export const OWNER_WAIT_MS = 1_000
/** The pods of a node come within this, or the data process is of no use any more. */
export const ADOPTION_TIMEOUT_MS = 2_000

/** Where a data process waits for the next supervisor. */
export function handoverSocket(adminSocket: string): string {
  return `${adminSocket}.handover`
}

/** Data process to a supervisor that has connected. */
export type HandoverMessage =
  /** It has a supervisor, which lives. */
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
