// SPDX-License-Identifier: Apache-2.0
// Says at the pod itself what has become of it: an Event with the reason and its fix, as `kubectl describe pod` shows it.
// The same word about the same pod is said once in a while, all of them together so often; what fails is not tried again.
import { REASONS, type ReasonCode } from '../../../mesh/errors/reasons.ts'
import type { PodInfo } from '../../../mesh/generations/pods.ts'
import type { KubernetesClient } from '../../../mesh/kubernetes/client.ts'
import type { Clock } from '../../../mesh/runtime/clock.ts'
import type { Log } from '../../../mesh/runtime/log.ts'
import { TokenBucket } from '../../../mesh/runtime/token-bucket.ts'

/** The same Event of the same pod is not written again before. */
const REPEAT_AFTER_MS = 600_000
/** Events of one node written at once. */
const EVENT_BURST = 20
/** Events of one node each second, after that. */
const EVENTS_PER_SECOND = 1
/** Events remembered so that they are not repeated: about two for each pod a node can have. */
const MAX_REMEMBERED = 1024
/** Longest request that writes an Event. */
const EVENT_TIMEOUT_MS = 5_000
/** SPEC KUBERNETES Event v1 core: `message` is of at most 1024 characters. */
const MAX_MESSAGE_LENGTH = 1024

/** What is said. */
export type PodEventReason = 'EnrolmentLate' | 'EnrolmentFailed' | 'RedirectionMended'

/** What a writer of Events needs. */
export interface PodEventsOptions {
  readonly client: Pick<KubernetesClient, 'create'>
  readonly nodeName: string
  readonly clock: Clock
  readonly log: Log
}

/** The Events of one node. */
export class PodEvents {
  readonly #options: PodEventsOptions
  readonly #bucket: TokenBucket
  readonly #saidMs = new Map<string, number>()

  constructor(options: PodEventsOptions) {
    this.#options = options
    const bounds = { capacity: EVENT_BURST, perSecond: EVENTS_PER_SECOND }
    this.#bucket = new TokenBucket(bounds, options.clock.passedMs)
  }

  /** Writes it, unless it was said lately or there is too much to say. Never throws. */
  say(pod: PodInfo, reason: PodEventReason, code: ReasonCode, detail: string): void {
    const { client, clock, log, nodeName } = this.#options
    const { nowMs, passedMs } = clock
    const key = `${pod.uid} ${reason} ${code}`
    if (passedMs - (this.#saidMs.get(key) ?? Number.NEGATIVE_INFINITY) < REPEAT_AFTER_MS) return
    if (!this.#bucket.take(passedMs)) return
    this.#remember(key, passedMs)
    const event = podEvent(pod, { reason, code, detail, nodeName, nowMs })
    const path = `/api/v1/namespaces/${pod.namespace}/events`
    client.create(path, event, AbortSignal.timeout(EVENT_TIMEOUT_MS)).catch((err: unknown) => {
      log.debug({ err, pod: pod.name, reason }, 'an Event could not be written')
    })
  }

  #remember(key: string, passedMs: number): void {
    this.#saidMs.delete(key)
    this.#saidMs.set(key, passedMs)
    const [oldest] = this.#saidMs.keys()
    if (this.#saidMs.size > MAX_REMEMBERED && oldest !== undefined) this.#saidMs.delete(oldest)
  }
}

/** The object of one Event. */
function podEvent(
  { uid, name, namespace }: PodInfo,
  said: {
    readonly reason: PodEventReason
    readonly code: ReasonCode
    readonly detail: string
    readonly nodeName: string
    readonly nowMs: number
  },
): object {
  const { reason, code, detail, nodeName, nowMs } = said
  const time = new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z')
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { generateName: `${name.slice(0, 200)}.`, namespace },
    involvedObject: { apiVersion: 'v1', kind: 'Pod', namespace, name, uid },
    ...{ type: 'Warning', reason, count: 1, firstTimestamp: time, lastTimestamp: time },
    message: `${code}: ${detail === '' ? '' : `${detail}; `}${REASONS[code].fix}`.slice(
      0,
      MAX_MESSAGE_LENGTH,
    ),
    source: { component: 'sidestep-ztunnel', host: nodeName },
  }
}
