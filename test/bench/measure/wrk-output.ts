// SPDX-License-Identifier: Apache-2.0
// What wrk 4.1 prints, with and without failures.
import t from 'tap'
import { parseWrkOutput } from '../../../bench/measure/wrk-output.ts'

const GOOD = `Running 1s test @ http://10.2.0.1:8080/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.02ms    3.04ms  37.66ms   94.53%
    Req/Sec    48.75k     5.05k   55.93k    81.82%
  Latency Distribution
     50%  255.00us
     75%  344.00us
     90%    1.10ms
     99%   16.90ms
  53368 requests in 1.10s, 8.40MB read
Requests/sec:  48513.97
Transfer/sec:      7.63MB
`

t.test('figures are read in microseconds', (t) => {
  t.same(parseWrkOutput(GOOD), {
    requests: 53_368,
    requestsPerSecond: 48_513.97,
    p50Micros: 255,
    p99Micros: 16_900,
    failures: 0,
  })
  // It pads units of one letter.
  t.equal(parseWrkOutput(GOOD.replace('16.90ms', '1.50s ')).p99Micros, 1_500_000)
  t.end()
})

t.test('errors of sockets and answers other than 2xx and 3xx are failures', (t) => {
  const bad = GOOD.replace(
    'Requests/sec',
    '  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\nRequests/sec',
  )
  t.equal(parseWrkOutput(bad).failures, 15)
  t.end()
})

t.test('a text that is no result is an error that shows it', (t) => {
  t.throws(() => parseWrkOutput('unable to connect to 10.2.0.1:8080'), /unable to connect/)
  t.end()
})
