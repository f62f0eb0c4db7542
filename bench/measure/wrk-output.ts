// SPDX-License-Identifier: Apache-2.0
// Reads what wrk prints. Pure.

/** One run of wrk. */
export interface WrkResult {
  readonly requests: number
  readonly requestsPerSecond: number
  readonly p50Micros: number
  readonly p99Micros: number
  /** Connects, reads, writes and timeouts that failed, and answers other than 2xx and 3xx. */
  readonly failures: number
}

const MICROS_OF_UNIT: Readonly<Record<string, number>> = { us: 1, ms: 1000, s: 1_000_000, m: 60_000_000 }

function numberAt(text: string, pattern: RegExp): number {
  return Number(pattern.exec(text)?.[1] ?? Number.NaN)
}

function quantileMicros(text: string, percent: number): number {
  const match = new RegExp(`^\\s*${percent}%\\s+([\\d.]+)(us|ms|s|m) *$`, 'm').exec(text)
  return Number(match?.[1] ?? Number.NaN) * (MICROS_OF_UNIT[match?.[2] ?? ''] ?? Number.NaN)
}

/** @throws Error when the text is not of a finished run with `--latency` */
export function parseWrkOutput(text: string): WrkResult {
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text) ?? []
  const refused = /Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? '0'
  const result = {
    requests: numberAt(text, /^\s*(\d+) requests in/m),
    requestsPerSecond: numberAt(text, /^Requests\/sec:\s+([\d.]+)/m),
    p50Micros: quantileMicros(text, 50),
    p99Micros: quantileMicros(text, 99),
    failures: [...errors.slice(1), refused].reduce((sum, count) => sum + Number(count), 0),
  }
  if (!Object.values(result).every(Number.isFinite)) throw new Error(`wrk said: ${text}`)
  return result
}
