// SPDX-License-Identifier: Apache-2.0
// Says in the cluster what the node has done for its pods: an annotation, by which others decide whether they may tunnel to
// a pod. SPEC HBONE §9.1. A few at a time; what failed waits longer each time.

import type { PodInfo } from '../../../mesh/generations/pods.ts'
import { ApiError, type KubernetesClient } from '../../../mesh/kubernetes/client.ts'
import { REDIRECTION_ANNOTATION } from '../../../mesh/model/enrolment.ts'
import { Backoff } from '../../../mesh/runtime/backoff.ts'
import type { Clock } from '../../../mesh/runtime/clock.ts'
import type { Log } from '../../../mesh/runtime/log.ts'

/** Requests under way at once: a hundred pods need a second. */
const MAX_TELLING = 8
const RETRY_FIRST_MS = 200
/** Longest wait after a failure to annotate. */
const RETRY_MAX_MS = 10_000
/** Longest request that annotates a pod. */
const TELL_TIMEOUT_MS = 5_000
/** That many pods are gone, or another pod has their name: nobody needs to be told. */
const GONE = [404, 409]

/** `enabled`: it may be tunnelled to. `pending`: its rules stand, but nobody serves it. null: it is not in the mesh. */
export type Redirection = 'enabled' | 'pending' | null

/** What a teller needs. */
export interface TellerOptions {
  readonly client: Pick<KubernetesClient, 'merge'>
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly log: Log
}

export class RedirectionTeller {
  readonly #options: TellerOptions
  readonly #backoff: Backoff
  readonly #telling = new Set<string>()
  /** Nobody is told before. */
  #notBeforeMs = Number.NEGATIVE_INFINITY
  #lastFailure = ''

  constructor(options: TellerOptions) {
    this.#options = options
    const { random } = options
    this.#backoff = new Backoff({ initialMs: RETRY_FIRST_MS, maxMs: RETRY_MAX_MS, random })
  }

  /** Whether this pod can be told about now. */
  canTell({ uid }: PodInfo): boolean {
    const isTime = this.#options.clock.passedMs >= this.#notBeforeMs
    return isTime && this.#telling.size < MAX_TELLING && !this.#telling.has(uid)
  }

  /** Says it; true when it stands there, or the pod is gone. Never throws. */
  async tell({ uid, name, namespace }: PodInfo, redirection: Redirection): Promise<boolean> {
    const path = `/api/v1/namespaces/${namespace}/pods/${name}/status`
    // With its uid: another pod of that name is not meant.
    const body = { metadata: { uid, annotations: { [REDIRECTION_ANNOTATION]: redirection } } }
    this.#telling.add(uid)
    try {
      await this.#options.client.merge(path, body, AbortSignal.timeout(TELL_TIMEOUT_MS))
      this.#backoff.reset()
      this.#lastFailure = ''
      return true
    } catch (error) {
      if (error instanceof ApiError && GONE.includes(error.status)) return true
      this.#failed(error instanceof Error ? error.message : String(error))
      return false
    } finally {
      this.#telling.delete(uid)
    }
  }

  #failed(detail: string): void {
    const { clock, log } = this.#options
    const delayMs = this.#backoff.next()
    this.#notBeforeMs = clock.passedMs + delayMs
    if (detail !== this.#lastFailure) log.warn({ detail, delayMs }, 'a pod cannot be annotated, trying again')
    this.#lastFailure = detail
  }
}
