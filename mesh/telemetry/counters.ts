// SPDX-License-Identifier: Apache-2.0
// Counters of a worker in shared memory: adding is one memory write, reading needs no message. Label sets are
// registered once per worker; main learns their text by a message and sums equal ones over the workers.

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

/** Shared memory of one worker's counters. */
export function createCounterMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(MAX_LABEL_SETS * VALUES_PER_SET * 8)
}

/** The worker's side. */
export class TrafficCounters {
  readonly #values: Float64Array
  readonly #slots = new Map<string, number>()
  readonly #onRegistered: (slot: number, labels: string) => void

  constructor(memory: SharedArrayBuffer, onRegistered: (slot: number, labels: string) => void) {
    this.#values = new Float64Array(memory)
    this.#onRegistered = onRegistered
  }

  /** The slot of a label set. `key` is any short text unique to the set; `labels` is called once per key. */
  slotOf(key: string, labels: () => string): number {
    const known = this.#slots.get(key)
    if (known !== undefined) return known
    const isFull = this.#slots.size >= MAX_LABEL_SETS - 1
    const slot = isFull ? MAX_LABEL_SETS - 1 : this.#slots.size
    if (isFull) {
      if (!this.#slots.has('other')) this.#onRegistered(slot, 'overflow="true"')
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
  readonly labels: Map<number, string>
}

/** Main's side: reads all workers' counters, also of workers that have ended. */
export class CounterReader {
  readonly #workers = new Map<SharedArrayBuffer, WorkerCounters>()
  /** What ended workers have counted, by label text. */
  readonly #ended = new Map<string, Float64Array>()

  /** Adds a worker's memory; returns the function that main calls for each of its registrations. */
  addWorker(memory: SharedArrayBuffer): (slot: number, labels: string) => void {
    const labels = new Map<number, string>()
    this.#workers.set(memory, { values: new Float64Array(memory), labels })
    return (slot, text) => labels.set(slot, text)
  }

  /** Keeps what an ended worker has counted and lets go of its memory. */
  retireWorker(memory: SharedArrayBuffer): void {
    const worker = this.#workers.get(memory)
    if (worker === undefined) return
    this.#workers.delete(memory)
    for (const [slot, text] of worker.labels) {
      const ended = this.#ended.get(text) ?? new Float64Array(VALUES_PER_SET)
      for (let metric = 0; metric < VALUES_PER_SET; metric++) {
        ended[metric] = (ended[metric] ?? 0) + (worker.values[slot * VALUES_PER_SET + metric] ?? 0)
      }
      this.#ended.set(text, ended)
    }
  }

  /** Sums of one metric (index in TRAFFIC_METRICS) by label text. */
  sums(metric: number): Map<string, number> {
    const sums = new Map<string, number>()
    for (const [text, values] of this.#ended) {
      const value = values[metric] ?? 0
      if (value !== 0) sums.set(text, value)
    }
    for (const { values, labels } of this.#workers.values()) {
      for (const [slot, text] of labels) {
        const value = values[slot * VALUES_PER_SET + metric] ?? 0
        if (value !== 0) sums.set(text, (sums.get(text) ?? 0) + value)
      }
    }
    return sums
  }
}
