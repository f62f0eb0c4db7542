// SPDX-License-Identifier: Apache-2.0
// Requests of a worker, counted per label set in shared memory: how many, and histograms of their time and sizes. To count one
// is a few memory writes, to read needs no message. Label sets are registered once per worker, as those of connections are.

/** Label sets per worker; later ones share the last slot, which is exposed as `overflow`. */
export const MAX_REQUEST_LABEL_SETS = 2048
/** The labels of that slot. */
export const OVERFLOW_LABELS = 'overflow="true"'

/** What is measured, in the order of the memory. How many there were is the count of each. */
export const REQUEST_METRICS = [
  'istio_request_duration_milliseconds',
  'istio_request_bytes',
  'istio_response_bytes',
] as const
/** Upper bounds of all three; one without bound follows. SPEC ENVOY: the buckets of its histograms, which Istio's have. */
export const REQUEST_BUCKETS: readonly number[] = [
  ...[0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000],
  ...[30_000, 60_000, 300_000, 600_000, 1_800_000, 3_600_000],
]
const BOUNDS = Float64Array.from(REQUEST_BUCKETS)
/** Of one histogram: the buckets, the one without bound, the sum. */
const VALUES = BOUNDS.length + 2
const SUM = VALUES - 1
const VALUES_PER_SET = VALUES * REQUEST_METRICS.length

/** What was measured of one label set. */
export interface RequestHistogram {
  readonly labels: string
  /** How many were at most each bound of REQUEST_BUCKETS, and at last all. */
  readonly counts: readonly number[]
  readonly sum: number
}

/** Shared memory of one worker's counters: 1 MiB, of which the system gives what is written. */
export function createRequestMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(MAX_REQUEST_LABEL_SETS * VALUES_PER_SET * Float64Array.BYTES_PER_ELEMENT)
}

/** The worker's side. */
export class RequestCounters {
  readonly #values: Float64Array
  readonly #slots = new Map<string, number>()
  readonly #onRegistered: (slot: number, labels: string) => void

  constructor(memory: SharedArrayBuffer, onRegistered: (slot: number, labels: string) => void) {
    this.#values = new Float64Array(memory)
    this.#onRegistered = onRegistered
  }

  /** The slot of a label set (exposition text, without braces). Keep it: to ask costs more than to count. */
  slotOf(labels: string): number {
    const isFull = this.#slots.size >= MAX_REQUEST_LABEL_SETS - 1
    const known = this.#slots.get(labels)
    if (known !== undefined) return known
    if (isFull) {
      const last = MAX_REQUEST_LABEL_SETS - 1
      if (this.#slots.size === last) {
        this.#slots.set(OVERFLOW_LABELS, last)
        this.#onRegistered(last, OVERFLOW_LABELS)
      }
      return last
    }
    const slot = this.#slots.size
    this.#slots.set(labels, slot)
    this.#onRegistered(slot, labels)
    return slot
  }

  /** Counts one request. Sizes are bytes of bodies. */
  count(slot: number, durationMs: number, requestBytes: number, responseBytes: number): void {
    const at = slot * VALUES_PER_SET
    this.#observe(at, durationMs)
    this.#observe(at + VALUES, requestBytes)
    this.#observe(at + 2 * VALUES, responseBytes)
  }

  #observe(at: number, value: number): void {
    let bucket = 0
    while (bucket < BOUNDS.length && value > (BOUNDS[bucket] ?? 0)) bucket++
    this.#add(at + bucket, 1)
    this.#add(at + SUM, value)
  }

  #add(index: number, amount: number): void {
    this.#values[index] = (this.#values[index] ?? 0) + amount
  }
}

interface WorkerCounters {
  readonly values: Float64Array
  readonly labels: Map<number, string>
}

/** Main's side: reads all workers' counters, also of workers that have ended. */
export class RequestCounterReader {
  readonly #workers = new Map<SharedArrayBuffer, WorkerCounters>()
  /** What ended workers have counted, by labels. */
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
    for (const [slot, labels] of worker.labels) {
      const sums = this.#ended.get(labels) ?? new Float64Array(VALUES_PER_SET)
      addTo(sums, worker.values, slot * VALUES_PER_SET)
      this.#ended.set(labels, sums)
    }
  }

  /** The histograms of each metric, in the order of REQUEST_METRICS; label sets without a request are left out. */
  histograms(): readonly (readonly RequestHistogram[])[] {
    const all = new Map([...this.#ended].map(([labels, values]) => [labels, values.slice()]))
    for (const { values, labels } of this.#workers.values())
      for (const [slot, text] of labels) {
        const sums = all.get(text) ?? new Float64Array(VALUES_PER_SET)
        addTo(sums, values, slot * VALUES_PER_SET)
        all.set(text, sums)
      }
    return REQUEST_METRICS.map((_name, metric) =>
      [...all].flatMap(([labels, values]) => histogramAt(labels, values, metric * VALUES) ?? []),
    )
  }
}

function histogramAt(labels: string, values: Float64Array, at: number): RequestHistogram | null {
  let total = 0
  const counts: number[] = []
  for (const count of values.subarray(at, at + SUM)) {
    total += count
    counts.push(total)
  }
  return total === 0 ? null : { labels, counts, sum: values[at + SUM] ?? 0 }
}

function addTo(sums: Float64Array, values: Float64Array, at: number): void {
  for (let index = 0; index < VALUES_PER_SET; index++)
    sums[index] = (sums[index] ?? 0) + (values[at + index] ?? 0)
}
