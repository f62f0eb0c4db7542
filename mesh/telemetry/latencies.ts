// SPDX-License-Identifier: Apache-2.0
// How long things took in a worker, as histograms in shared memory: to observe is two memory writes and no allocation, to
// read needs no message. Buckets and labels are fixed, so there is nothing to register.

/** What is measured, in the order of the memory. */
export const LATENCY_METRICS = ['connect', 'tls_handshake', 'first_byte'] as const
/** From the arrival of a connection until it could carry bytes. */
export const CONNECT = 0
/** From the connected socket until both ends are proven. */
export const TLS_HANDSHAKE = 1
/** From the first byte of the client, or the connect where the server speaks first, to the first byte of the server. */
export const FIRST_BYTE = 2

/** Upper bounds of the buckets; one without bound follows. From a connect within a node to one across the world. */
const BUCKETS_SECONDS = [...[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]]
const BUCKETS_MS = Float64Array.from(BUCKETS_SECONDS, (seconds) => seconds * 1000)
/** Of one histogram: the buckets, the one without bound, the sum in ms. */
const VALUES = BUCKETS_MS.length + 2
const SUM = VALUES - 1
const REPORTERS = ['source', 'destination'] as const
const TRANSPORTS = ['TCP', 'HBONE'] as const
const SERIES_COUNT = REPORTERS.length * TRANSPORTS.length
const VALUE_COUNT = LATENCY_METRICS.length * SERIES_COUNT * VALUES

/** One label set of a histogram, and what was counted of it. */
export interface LatencySeries {
  readonly reporter: (typeof REPORTERS)[number]
  readonly transport: (typeof TRANSPORTS)[number]
  /** How many took at most `seconds`; the last one has no bound. */
  readonly buckets: readonly { readonly seconds: number; readonly count: number }[]
  readonly sumSeconds: number
}

/** Histograms of one worker: one writer, any readers. */
export class Latencies {
  readonly memory: SharedArrayBuffer
  readonly #values: Float64Array

  /** `memory` from another thread, or new. */
  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(VALUE_COUNT * 8)) {
    this.memory = memory
    this.#values = new Float64Array(memory)
  }

  /** `metric` is an index of LATENCY_METRICS. Writer only. */
  observe(metric: number, isSource: boolean, isHbone: boolean, tookMs: number): void {
    const at = startOf(metric, (isSource ? 0 : TRANSPORTS.length) + (isHbone ? 1 : 0))
    let bucket = 0
    while (bucket < BUCKETS_MS.length && tookMs > (BUCKETS_MS[bucket] ?? 0)) bucket++
    this.#add(at + bucket, 1)
    this.#add(at + SUM, tookMs)
  }

  value(index: number): number {
    return this.#values[index] ?? 0
  }

  #add(index: number, amount: number): void {
    this.#values[index] = (this.#values[index] ?? 0) + amount
  }
}

/** The series of a metric over all workers; those nothing was counted of are left out. */
export function latencySeries(workers: readonly Latencies[], metric: number): readonly LatencySeries[] {
  const sum = (index: number): number => workers.reduce((total, worker) => total + worker.value(index), 0)
  return REPORTERS.flatMap((reporter, first) =>
    TRANSPORTS.flatMap((transport, second) => {
      const at = startOf(metric, first * TRANSPORTS.length + second)
      let count = 0
      const buckets = [...BUCKETS_SECONDS, Number.POSITIVE_INFINITY].map((seconds, bucket) => {
        count += sum(at + bucket)
        return { seconds, count }
      })
      return count === 0 ? [] : [{ reporter, transport, buckets, sumSeconds: sum(at + SUM) / 1000 }]
    }),
  )
}

function startOf(metric: number, series: number): number {
  return (metric * SERIES_COUNT + series) * VALUES
}
