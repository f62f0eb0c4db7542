// SPDX-License-Identifier: Apache-2.0
// Pods of the mesh that run and are in nobody's hands, because the node does not show where their network is: without this
// they would go on in plain text and nobody would say so.
import type { ReasonCode } from '../../../mesh/errors/reasons.ts'
import type { AgentPod } from './decide-enrolment.ts'
import type { PodState } from './pod-state.ts'

/** A pod that runs is found within a second where all is as it should be. */
export const UNFOUND_AFTER_MS = 10_000

/** Why a pod is not found, for its Event and the log. */
export interface UnfoundReason {
  readonly code: Extract<ReasonCode, 'MISSING_CAPABILITY' | 'POD_UNSEEN'>
  readonly detail: string
}

/** Pods by their uid. */
export class UnfoundPods {
  readonly #sinceMs = new Map<string, number>()
  readonly #told = new Map<string, UnfoundReason['code']>()

  /**
   * How a pod stands now; `isDenied`: its processes are seen, its network is not. Gives the reason when it is to be told: not
   * found for long, or for another reason than was told.
   */
  onLook({ info: { uid }, isRunning }: AgentPod, state: PodState, isDenied: boolean, nowMs: number) {
    if (state !== 'wanted' || isRunning !== true) {
      this.forget(uid)
      return null
    }
    const sinceMs = this.#sinceMs.get(uid) ?? nowMs
    this.#sinceMs.set(uid, sinceMs)
    if (nowMs - sinceMs < UNFOUND_AFTER_MS) return null
    const reason: UnfoundReason = isDenied
      ? {
          code: 'MISSING_CAPABILITY',
          detail: 'CAP_SYS_PTRACE shows the network of a process of another user',
        }
      : { code: 'POD_UNSEEN', detail: 'no process with a network of its own' }
    if (this.#told.get(uid) === reason.code) return null
    this.#told.set(uid, reason.code)
    return reason
  }

  /** It is gone, found, or need not be. */
  forget(uid: string): void {
    this.#sinceMs.delete(uid)
    this.#told.delete(uid)
  }

  /** What was told of those that are still not found. */
  get reasons(): Iterable<ReasonCode> {
    return this.#told.values()
  }
}
