// SPDX-License-Identifier: Apache-2.0
// Counts of durations in buckets whose width grows with the value, like HdrHistogram's: exact below 128 µs, then
// within 1.6 %. Recording costs one addition and allocates nothing. Pure.

const SUB_BUCKET_BITS = 6
const SUB_BUCKETS = 1 << SUB_BUCKET_BITS
/** Values above are counted in the last bucket: 2^36 µs are 19 hours. */
const OCTAVES = 30
const EXACT_BELOW = SUB_BUCKETS * 2

/** A histogram of microseconds. */
export class Histogram {
  count = 0
  maxMicros = 0
  readonly #counts = new Float64Array(EXACT_BELOW + OCTAVES * SUB_BUCKETS)

  record(micros: number): void {
    const value = micros > 0 ? Math.floor(micros) : 0
    this.#counts[bucketOf(value)] = (this.#counts[bucketOf(value)] ?? 0) + 1
    this.count++
    if (value > this.maxMicros) this.maxMicros = value
  }

  /** The value that `share` (0…1) of all are not above; NaN when empty. */
  quantile(share: number): number {
    if (this.count === 0) return Number.NaN
    const rank = Math.max(1, Math.ceil(share * this.count))
    let seen = 0
    for (let bucket = 0; bucket < this.#counts.length; bucket++) {
      seen += this.#counts[bucket] ?? 0
      if (seen >= rank) return Math.min(upperBound(bucket), this.maxMicros)
    }
    return this.maxMicros
  }
}

function bucketOf(value: number): number {
  if (value < EXACT_BELOW) return value
  const octave = Math.floor(Math.log2(value)) - SUB_BUCKET_BITS
  const index = EXACT_BELOW + (octave - 1) * SUB_BUCKETS + Math.floor(value / 2 ** octave) - SUB_BUCKETS
  return Math.min(index, EXACT_BELOW + OCTAVES * SUB_BUCKETS - 1)
}

/** The largest value of a bucket. */
function upperBound(bucket: number): number {
  if (bucket < EXACT_BELOW) return bucket
  const octave = Math.floor((bucket - EXACT_BELOW) / SUB_BUCKETS) + 1
  const index = ((bucket - EXACT_BELOW) % SUB_BUCKETS) + SUB_BUCKETS
  return (index + 1) * 2 ** octave - 1
}
