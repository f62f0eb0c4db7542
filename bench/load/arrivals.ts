// SPDX-License-Identifier: Apache-2.0
// When requests are due: random gaps as from many independent users (a Poisson process), the same in every run. Pure.

/** Any constant: everybody meets the same arrivals. */
const SEED = 0x5eed

/** mulberry32: small, seeded, good enough for gaps. */
function randomNumbers(): () => number {
  let state = SEED
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Milliseconds after the start at which requests are due, in order, for `seconds` at `rate` per second. */
export function scheduleArrivals(rate: number, seconds: number): Float64Array {
  const random = randomNumbers()
  const arrivals: number[] = []
  for (let atMs = 0; ; ) {
    atMs += (-Math.log(1 - random()) * 1000) / rate
    if (atMs >= seconds * 1000) return Float64Array.from(arrivals)
    arrivals.push(atMs)
  }
}
