// SPDX-License-Identifier: Apache-2.0
// What the DNS of all pods in one worker shares: memory to write messages in, the count of what is under way, and how an
// end is counted and told.
import type { ReasonCode } from '../../mesh/errors/reasons.ts'
import { type Block, HEADROOM_BYTES } from '../../mesh/reactor/byte-stream.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import type { Reactor } from '../../mesh/reactor/reactor.ts'
import { DNS_REQUESTS } from '../../mesh/telemetry/counters.ts'
import { formatDnsLabels } from '../../mesh/telemetry/dns-labels.ts'
import type { ServedPod } from '../carry/served-pod.ts'
import { LENGTH_BYTES } from './dns-frames.ts'

/** A message of the largest size with its length in front. */
const SCRATCH_BYTES = HEADROOM_BYTES + LENGTH_BYTES + 65_535
/** Failures are told at most this often per worker, and per pod to main; they are counted each. */
const WARN_INTERVAL_MS = 1000
/** Where a message is written: its length has room in front. */
export const MESSAGE_AT = HEADROOM_BYTES + LENGTH_BYTES

/** How one question ended: `OK` = answered, or handed on and answered there. */
export interface DnsEnd {
  readonly protocol: 'udp' | 'tcp'
  readonly queryType: number
  readonly result: 'answered' | 'forwarded' | 'failed'
  readonly code: ReasonCode
  readonly detail: string
}

/** One per worker. */
export class DnsResources {
  readonly reactor: Reactor
  /** Questions that a resolver has not answered yet. */
  forwardedCount = 0
  #scratch: Block | null = null
  #lastWarnedMs = Number.NEGATIVE_INFINITY
  #untoldCount = 0
  /** Pods whose last question went unanswered, and when that was last told. */
  readonly #failing = new WeakMap<ServedPod, number>()

  constructor(reactor: Reactor) {
    this.reactor = reactor
    reactor.atTrim(() => {
      this.#scratch = null
    })
  }

  /** Memory for one message, valid until the next one is written. */
  get scratch(): Block {
    this.#scratch ??= allocateBlock(SCRATCH_BYTES)
    return this.#scratch
  }

  /** Counts one question, and tells of it when it failed. */
  ended(pod: ServedPod, end: DnsEnd): void {
    const { counters } = pod.context
    const { protocol, queryType, result, code } = end
    const workload = pod.inbound?.workload ?? null
    const slot = counters.slotOf(
      `dns|${workload?.uid}|${protocol}|${queryTypeName(queryType)}|${code}|${result}`,
      () => ({
        text: formatDnsLabels({
          queryType: queryTypeName(queryType),
          protocol,
          source: workload,
          result,
          reason: code,
        }),
        edge: null,
        pod: '',
      }),
    )
    counters.add(slot, DNS_REQUESTS, 1)
    if (result === 'failed') {
      this.#tell(pod, end)
      this.#onFailed(pod, end)
    } else if (result === 'forwarded' && this.#failing.delete(pod))
      pod.context.post({ type: 'dns-recovered', uid: pod.info.uid })
  }

  /** Its resolver failed in another worker, perhaps: whichever sees an answer tells. */
  onFailing(pod: ServedPod | undefined): void {
    if (pod !== undefined && !this.#failing.has(pod)) this.#failing.set(pod, Number.NEGATIVE_INFINITY)
  }

  #onFailed(pod: ServedPod, { code, detail }: DnsEnd): void {
    const { nowMs } = this.reactor
    if (nowMs - (this.#failing.get(pod) ?? Number.NEGATIVE_INFINITY) < WARN_INTERVAL_MS) return
    this.#failing.set(pod, nowMs)
    pod.context.post({ type: 'dns-failed', uid: pod.info.uid, code, detail })
  }

  #tell(pod: ServedPod, { protocol, code, detail }: DnsEnd): void {
    const { nowMs } = this.reactor
    this.#untoldCount++
    if (nowMs - this.#lastWarnedMs < WARN_INTERVAL_MS) return
    this.#lastWarnedMs = nowMs
    const { uid, name, namespace } = pod.info
    const fields = { uid, pod: name, namespace, protocol, reason: code, detail, failures: this.#untoldCount }
    this.#untoldCount = 0
    pod.context.post({ type: 'log', level: 'warn', message: 'DNS question failed', fields })
  }
}

/** SPEC IANA dns-parameters: those that are seen; a pod cannot invent label sets. */
const QUERY_TYPES: ReadonlyMap<number, string> = new Map([
  [1, 'a'],
  [2, 'ns'],
  [5, 'cname'],
  [6, 'soa'],
  [12, 'ptr'],
  [15, 'mx'],
  [16, 'txt'],
  [28, 'aaaa'],
  [33, 'srv'],
  [64, 'svcb'],
  [65, 'https'],
])

function queryTypeName(queryType: number): string {
  return QUERY_TYPES.get(queryType) ?? 'other'
}
