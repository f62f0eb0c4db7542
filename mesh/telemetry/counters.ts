// SPDX-License-Identifier: Apache-2.0
// Counters of a worker in shared memory: adding is one memory write, reading needs no message. Label sets are
// registered once per worker; main learns them by a message and sums equal ones over the workers.
import {
  addCounts,
  type Edge,
  type EdgeCounts,
  type EdgeLabels,
  edgeKey,
  isNothing,
  NO_COUNTS,
} from './edge.ts'

/** Label sets per worker; later ones share the last slot, which is exposed as `other`. */
export const MAX_LABEL_SETS = 8192
/** Values kept per label set. */
export const VALUES_PER_SET = 6

/** What is counted per label set, in the order of the slots. */
export const TRAFFIC_METRICS = [
  'istio_tcp_connections_opened',
  'istio_tcp_connections_closed',
  'istio_tcp_connections_failed',
  'istio_tcp_received_bytes',
  'istio_tcp_sent_bytes',
  'istio_dns_requests',
] as const
export const OPENED = 0
export const CLOSED = 1
export const FAILED = 2
export const RECEIVED_BYTES = 3
export const SENT_BYTES = 4
export const DNS_REQUESTS = 5

/** What a slot counts. */
export interface CounterLabels {
  /** As Istio's metrics have it. */
  readonly text: string
  /** Null for what is no connection. */
  readonly edge: EdgeLabels | null
  /** `namespace/name` of the pod of this node that has the connection; '' while nobody knows it. */
  readonly pod: string
}

/** What was counted of the connections of a pod that went one way and ended alike. */
export interface PodCount extends EdgeCounts {
  readonly direction: 'outbound' | 'inbound'
  readonly isPlaintext: boolean
  /** Reason code of the end; OK as long as nothing is wrong. */
  readonly reason: string
}

/** Shared memory of one worker's counters. */
export function createCounterMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(MAX_LABEL_SETS * VALUES_PER_SET * 8)
}

/** The worker's side. */
export class TrafficCounters {
  readonly #values: Float64Array
  readonly #slots = new Map<string, number>()
  readonly #onRegistered: (slot: number, labels: CounterLabels) => void

  constructor(memory: SharedArrayBuffer, onRegistered: (slot: number, labels: CounterLabels) => void) {
    this.#values = new Float64Array(memory)
    this.#onRegistered = onRegistered
  }

  /** The slot of a label set. `key` is any short text unique to the set; `labels` is called once per key. */
  slotOf(key: string, labels: () => CounterLabels): number {
    const known = this.#slots.get(key)
    if (known !== undefined) return known
    const isFull = this.#slots.size >= MAX_LABEL_SETS - 1
    const slot = isFull ? MAX_LABEL_SETS - 1 : this.#slots.size
    if (isFull) {
      if (!this.#slots.has('other'))
        this.#onRegistered(slot, { text: 'overflow="true"', edge: null, pod: '' })
      this.#slots.set('other', slot)
      return slot
    }
    this.#slots.set(key, slot)
    this.#onRegistered(slot, labels())
    return slot
  }

  add(slot: number, metric: number, amount: number): void {
    const index = slot * VALUES_PER_SET + metric
    this.#values[index] = (this.#values[index] ?? 0) + amount
  }
}

interface WorkerCounters {
  readonly values: Float64Array
  readonly labels: Map<number, CounterLabels>
}

/** What was counted of a label set; values in the order of TRAFFIC_METRICS. */
export interface CountedSet {
  readonly labels: CounterLabels
  readonly values: ArrayLike<number>
}

/** Main's side: reads all workers' counters, also of workers that have ended, and of other processes. */
export class CounterReader {
  readonly #workers = new Map<SharedArrayBuffer, WorkerCounters>()
  /** What ended workers have counted, by pod, text and edge. */
  readonly #ended = new Map<string, { readonly labels: CounterLabels; readonly values: Float64Array }>()
  /** What other processes have counted, by process. */
  readonly #others = new Map<string, readonly CountedSet[]>()

  /** Adds a worker's memory; returns the function that main calls for each of its registrations. */
  addWorker(memory: SharedArrayBuffer): (slot: number, labels: CounterLabels) => void {
    const labels = new Map<number, CounterLabels>()
    this.#workers.set(memory, { values: new Float64Array(memory), labels })
    return (slot, each) => labels.set(slot, each)
  }

  /** Keeps what an ended worker has counted and lets go of its memory. */
  retireWorker(memory: SharedArrayBuffer): void {
    const worker = this.#workers.get(memory)
    if (worker === undefined) return
    this.#workers.delete(memory)
    for (const [slot, labels] of worker.labels) {
      const key = setKey(labels)
      const ended = this.#ended.get(key) ?? { labels, values: new Float64Array(VALUES_PER_SET) }
      for (let metric = 0; metric < VALUES_PER_SET; metric++) {
        ended.values[metric] =
          (ended.values[metric] ?? 0) + (worker.values[slot * VALUES_PER_SET + metric] ?? 0)
      }
      this.#ended.set(key, ended)
    }
  }

  /** What another process has counted, all of it: in place of what was given before. */
  adopt(process: string, sets: readonly CountedSet[]): void {
    this.#others.set(process, sets)
  }

  /** All that was counted in this process, by setKey. */
  own(): Map<string, CountedSet> {
    const sets = new Map<string, { readonly labels: CounterLabels; readonly values: Float64Array }>()
    for (const { labels, values, at } of this.#own()) {
      const key = setKey(labels)
      const set = sets.get(key) ?? { labels, values: new Float64Array(VALUES_PER_SET) }
      for (let metric = 0; metric < VALUES_PER_SET; metric++)
        set.values[metric] = (set.values[metric] ?? 0) + (values[at + metric] ?? 0)
      sets.set(key, set)
    }
    return sets
  }

  /** Sums of one metric (index in TRAFFIC_METRICS) by label text. */
  sums(metric: number): Map<string, number> {
    const sums = new Map<string, number>()
    for (const { labels, values, at } of this.#all()) {
      const value = values[at + metric] ?? 0
      if (value !== 0) sums.set(labels.text, (sums.get(labels.text) ?? 0) + value)
    }
    return sums
  }

  /** All that was counted of connections, by edge; `isOwn`: in this process. */
  edges(isOwn = false): Map<string, Edge> {
    const edges = new Map<string, Edge>()
    for (const { labels, values, at } of isOwn ? this.#own() : this.#all()) {
      if (labels.edge === null) continue
      const key = edgeKey(labels.edge)
      edges.set(key, { ...labels.edge, ...addCounts(edges.get(key) ?? NO_COUNTS, countsAt(values, at)) })
    }
    return edges
  }

  /** What was counted of connections, by the pod of this node that has them. */
  pods(): Map<string, readonly PodCount[]> {
    const pods = new Map<string, Map<string, PodCount>>()
    for (const { labels, values, at } of this.#all()) {
      if (labels.edge === null || labels.pod === '') continue
      const counts = countsAt(values, at)
      if (isNothing(counts)) continue
      const { reporter, isPlaintext, reason } = labels.edge
      const direction = reporter === 'source' ? 'outbound' : 'inbound'
      const key = `${direction}|${isPlaintext}|${reason}`
      const ofPod = pods.get(labels.pod) ?? new Map<string, PodCount>()
      pods.set(labels.pod, ofPod)
      const sum = addCounts(ofPod.get(key) ?? NO_COUNTS, counts)
      ofPod.set(key, { direction, isPlaintext, reason, ...sum })
    }
    return new Map([...pods].map(([pod, counts]) => [pod, [...counts.values()]]))
  }

  *#all(): Iterable<CountedSet & { readonly at: number }> {
    yield* this.#own()
    for (const sets of this.#others.values()) for (const each of sets) yield { ...each, at: 0 }
  }

  /** Every slot that is or was: its values begin at `at`. */
  *#own(): Iterable<CountedSet & { readonly at: number }> {
    for (const each of this.#ended.values()) yield { ...each, at: 0 }
    for (const { values, labels } of this.#workers.values())
      for (const [slot, each] of labels) yield { labels: each, values, at: slot * VALUES_PER_SET }
  }
}

/** Equal for equal labels. */
export function setKey({ pod, text, edge }: CounterLabels): string {
  return `${pod}|${text}|${edge === null ? '' : edgeKey(edge)}`
}

/** What came since, where anything did; counts never go back. */
export function setsSince(
  now: ReadonlyMap<string, CountedSet>,
  before: ReadonlyMap<string, CountedSet>,
): CountedSet[] {
  return [...now].flatMap(([key, { labels, values }]) => {
    const known = before.get(key)?.values
    const since = Array.from(values, (value, metric) => value - (known?.[metric] ?? 0))
    return since.some((value) => value !== 0) ? [{ labels, values: since }] : []
  })
}

function countsAt(values: ArrayLike<number>, at: number): EdgeCounts {
  return {
    opened: values[at + OPENED] ?? 0,
    failed: values[at + FAILED] ?? 0,
    receivedBytes: values[at + RECEIVED_BYTES] ?? 0,
    sentBytes: values[at + SENT_BYTES] ?? 0,
  }
}
