// SPDX-License-Identifier: Apache-2.0
// Reads what h2load prints and logs. Pure.
import type { WrkResult } from './wrk-output.ts'

/**
 * One run for a time (`-D`). `text`: what it printed; `log`: its log, a request per line: start in µs, status, duration
 * in µs. Requests that the end of the time cut off are none.
 * @throws Error when the text is not of a finished run
 */
export function parseH2loadOutput(text: string, log: string): WrkResult {
  const rate = /^finished in [\d.]+m?s, ([\d.]+) req\/s/m.exec(text)?.[1]
  const requests =
    /^requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/m.exec(
      text,
    )
  const statuses = /^status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/m.exec(text)
  if (rate === undefined || requests === null || statuses === null) throw new Error(`h2load said: ${text}`)
  const durations = log
    .split('\n')
    .map((line) => Number(line.split('\t')[2] ?? Number.NaN))
    .filter(Number.isFinite)
    .sort((a, b) => a - b)
  const quantile = (share: number): number => durations[Math.floor(durations.length * share)] ?? Number.NaN
  return {
    requests: Number(requests[1]),
    requestsPerSecond: Number(rate),
    ...{ p50Micros: quantile(0.5), p99Micros: quantile(0.99) },
    failures: [...requests.slice(2), ...statuses.slice(1)].reduce((sum, count) => sum + Number(count), 0),
  }
}
