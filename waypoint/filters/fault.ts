// SPDX-License-Identifier: Apache-2.0
// Faults on purpose: a share of the requests waits, a share is answered without the service. Pure.
import type { Fault } from '../../proto/generated/sidestep/v1/routes_pb.js'

/** How a request is answered on purpose; null: it is not. */
export type FaultAbort =
  | { readonly kind: 'http'; readonly status: number }
  | { readonly kind: 'grpc'; readonly status: number }
  | null

/** What is done to one request. */
export interface FaultDecision {
  /** 0: it does not wait. */
  readonly delayMs: number
  readonly abort: FaultAbort
}

const MILLION = 1_000_000
/** Longest wait: a request that waits holds memory. */
const MAX_FAULT_DELAY_MS = 3_600_000

/** `random` is uniform in [0, 1), asked once for each part: the parts do not depend on each other. */
export function decideFault(fault: Fault, random: () => number): FaultDecision {
  const isDelayed = fault.delay !== undefined && random() * MILLION < fault.delayMillionths
  const isAborted = random() * MILLION < fault.abortMillionths
  return {
    delayMs: isDelayed ? delayOf(fault) : 0,
    abort: isAborted ? abortOf(fault) : null,
  }
}

function delayOf({ delay }: Fault): number {
  if (delay === undefined) return 0
  return Math.min(MAX_FAULT_DELAY_MS, Number(delay.seconds) * 1000 + delay.nanos / 1e6)
}

function abortOf({ abortStatus, abortGrpcStatus }: Fault): FaultAbort {
  if (abortStatus !== 0) return { kind: 'http', status: abortStatus }
  return abortGrpcStatus === undefined ? null : { kind: 'grpc', status: abortGrpcStatus }
}
