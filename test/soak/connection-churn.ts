// SPDX-License-Identifier: Apache-2.0
// 100,000 connections, plaintext and TLS, ended in every way a connection can end: no handle, no descriptor and no
// memory may be lost on the way. SOAK_CONNECTIONS sets another number.
import { readFileSync } from 'node:fs'
import t from 'tap'
import { trimMemory } from '../../mesh/reactor/trim-memory.ts'
import { ChurnWorkers, openDescriptors, unexpectedEndings } from '../support/churn-workers.ts'

const CONNECTIONS = Number(process.env.SOAK_CONNECTIONS ?? 100_000)
const ROUNDS = 20
const TIMEOUT_MS = 580_000
const WORKERS = 2
const CONCURRENCY = 64
/** One of four connections is TLS: a handshake costs ten times a connection. */
const TLS_EVERY = 4
/**
 * Growth allowed over the second half, by least squares: the noise of three heaps after a collection. Of 50,000
 * connections that is 40 bytes each: one lost SSL of 20 KB per 500 connections is found. Over 300,000 connections the
 * line was flat (-0.5 bytes per connection, -0.4 MB in 10 minutes), so what is seen in shorter runs is warming up.
 */
const MAX_GROWTH_BYTES = 2_000_000

/** Resident memory that is not a mapped file: code pages come and go with the page cache. */
function residentBytes(): number {
  const status = readFileSync('/proc/self/status', 'latin1')
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) * 1024
}

/** Slope of the least-squares line through `values` at 0, 1, 2 … */
function slopeOf(values: readonly number[]): number {
  const middle = (values.length - 1) / 2
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  let covariance = 0
  let variance = 0
  values.forEach((value, index) => {
    covariance += (index - middle) * (value - mean)
    variance += (index - middle) ** 2
  })
  return covariance / variance
}

t.setTimeout(TIMEOUT_MS)
t.test(`${CONNECTIONS} connections leave nothing behind`, { timeout: TIMEOUT_MS }, async (t) => {
  const before = openDescriptors()
  const workers = await ChurnWorkers.start(WORKERS, CONCURRENCY, TLS_EVERY)
  const perRound = CONNECTIONS / ROUNDS
  const resident: number[] = []
  const startedMs = performance.now()
  for (let round = 0; round < ROUNDS; round++) {
    t.same(unexpectedEndings(await workers.run(perRound), perRound), [], `round ${round + 1}`)
    trimMemory()
    resident.push(residentBytes())
  }
  const seconds = (performance.now() - startedMs) / 1000
  t.same(await workers.stop(), [], 'every handle created was freed')
  t.equal(openDescriptors(), before, 'descriptors as before')
  const slope = slopeOf(resident.slice(ROUNDS / 2)) / perRound
  const perTenMinutes = (slope * CONNECTIONS * 600) / seconds / 1e6
  t.comment(`${Math.round(CONNECTIONS / seconds)} connections/s for ${seconds.toFixed(1)} s`)
  t.comment(`resident MB after each round: ${resident.map((bytes) => (bytes / 1e6).toFixed(1)).join(' ')}`)
  t.comment(
    `growth ${slope.toFixed(1)} bytes per connection, ${perTenMinutes.toFixed(1)} MB in 10 minutes at this speed`,
  )
  t.ok((slope * CONNECTIONS) / 2 <= MAX_GROWTH_BYTES, 'memory is flat')
})
