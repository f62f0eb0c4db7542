// SPDX-License-Identifier: Apache-2.0
// What h2load 1.52 prints and logs, with and without failures.
import t from 'tap'
import { parseH2loadOutput } from '../../../bench/measure/h2load-output.ts'

const GOOD = `starting benchmark...
Main benchmark duration is over for thread #0. Stopping all clients.

finished in 1.00s, 7454.00 req/s, 328.08KB/s
requests: 7454 total, 7462 started, 7454 done, 7454 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 7454 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 328.08KB (335950) total, 65.88KB (67466) headers (space savings 92.70%), 58.23KB (59632) data
`
const LOG = Array.from({ length: 200 }, (_, index) => `1795345545686921\t200\t${200 - index}\n`).join('')

t.test('figures come from the text, durations from the log', (t) => {
  t.same(parseH2loadOutput(GOOD, LOG), {
    requests: 7454,
    requestsPerSecond: 7454,
    p50Micros: 101,
    p99Micros: 199,
    failures: 0,
  })
  t.end()
})

t.test('what failed and answers other than 2xx are failures', (t) => {
  const bad = GOOD.replace('0 failed, 0 errored, 0 timeout', '1 failed, 2 errored, 3 timeout').replace(
    '0 3xx, 0 4xx, 0 5xx',
    '4 3xx, 5 4xx, 6 5xx',
  )
  t.equal(parseH2loadOutput(bad, LOG).failures, 21)
  t.end()
})

t.test('a text that is no result is an error that shows it', (t) => {
  t.throws(() => parseH2loadOutput('Could not resolve', LOG), /Could not resolve/)
  t.end()
})
