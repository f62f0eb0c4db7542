// SPDX-License-Identifier: Apache-2.0
// Values that routes write as texts: durations of both APIs, shares, regular expressions.
import type { MessageInitShape } from '@bufbuild/protobuf'
import type { DurationSchema } from '@bufbuild/protobuf/wkt'
import { RE2JS } from 're2js'
import type { Fields } from '../fields.ts'
import { quote } from '../notes.ts'

export type DurationInit = MessageInitShape<typeof DurationSchema>

/** Of one expression: what is longer costs every waypoint, and nobody reads it. */
export const MAX_REGEX = 4_096
/** SPEC GATEWAY-API weight: at most this. */
export const MAX_WEIGHT = 1_000_000
/** Retries that a route may ask for: more is what nobody means, and the waypoint has a budget besides. */
export const MAX_ATTEMPTS_ASKED = 1_000
/** What `percent` and `percentage` are said in. */
export const WHOLE_MILLIONTHS = 1_000_000

// SPEC GATEWAY-API GEP-2257: one to four parts of up to five digits.
const GATEWAY_DURATION = /^(?:\d{1,5}(?:ms|h|m|s)){1,4}$/
// SPEC ISTIO-API: texts as Go reads them.
const GO_DURATION = /^(?:\d{1,10}(?:\.\d{1,9})?(?:ns|us|µs|ms|h|m|s)){1,6}$/
const PART = /(\d+(?:\.\d+)?)(ns|us|µs|ms|h|m|s)/g
const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}

/** A duration of the Gateway API; undefined: unset, or wrong and noted. */
export function gatewayDuration(fields: Fields, key: string): DurationInit | undefined {
  return durationOf(fields, key, GATEWAY_DURATION, '"1s", "500ms" or "1m30s"')
}

/** A duration of Istio's kinds; undefined: unset, or wrong and noted. */
export function istioDuration(fields: Fields, key: string): DurationInit | undefined {
  return durationOf(fields, key, GO_DURATION, '"1s", "0.5s" or "1m30s"')
}

function durationOf(fields: Fields, key: string, form: RegExp, example: string): DurationInit | undefined {
  const text = fields.text(key)
  if (text === '') return undefined
  if (form.test(text)) return durationInit(millisecondsOf(text))
  fields.notes.add('INVALID_VALUE', fields.pathOf(key), `${quote(text)} is no duration`, `write ${example}`)
  return undefined
}

function millisecondsOf(text: string): number {
  let sum = 0
  for (const [, number = '', unit = ''] of text.matchAll(PART)) sum += Number(number) * (UNIT_MS[unit] ?? 0)
  return sum
}

export function durationInit(ms: number): DurationInit {
  const seconds = Math.floor(ms / 1000)
  return { seconds: BigInt(seconds), nanos: Math.round((ms - seconds * 1000) * 1e6) }
}

/** Milliseconds of what was read; 0 when unset. */
export function durationMs(duration: DurationInit | undefined): number {
  return Number(duration?.seconds ?? 0n) * 1000 + (duration?.nanos ?? 0) / 1e6
}

/** An expression of RE2 as it stands; undefined: it is none, which is noted. */
export function regexOf(fields: Fields, key: string): string | undefined {
  const text = fields.text(key)
  const problem = regexProblem(text)
  if (problem === null) return text
  fields.notes.add('INVALID_VALUE', fields.pathOf(key), `${quote(text)} ${problem}`, 'write it as RE2 has it')
  return undefined
}

function regexProblem(text: string): string | null {
  if (text.length > MAX_REGEX) return `is longer than ${MAX_REGEX} characters`
  try {
    RE2JS.compile(text)
    return null
  } catch {
    return 'is no regular expression of RE2'
  }
}

/** Istio's `{value: 12.5}` in millionths; null: unset, or wrong and noted. */
export function percentMillionths(fields: Fields, key: string): number | null {
  if (fields.raw(key) === undefined) return null
  const inner = fields.fields(key)
  const value = inner.raw('value') ?? 0
  if (typeof value === 'number' && value >= 0 && value <= 100) return Math.round(value * 10_000)
  const message = 'expected a number from 0 to 100'
  fields.notes.add('WRONG_TYPE', inner.pathOf('value'), message, 'write per cent')
  return null
}

/** Thousandths of a share as TrafficSplits write it: `900m`, `1`, `"2"`; undefined: it is none. */
export function shareThousandths(value: unknown): number | undefined {
  const match = /^(\d{1,9})(m?)$/.exec(typeof value === 'number' ? String(value) : text(value))
  if (match === null) return undefined
  const thousandths = Number(match[1]) * (match[2] === 'm' ? 1 : 1000)
  return thousandths <= MAX_SHARE ? thousandths : undefined
}

/** Share of one backend of a TrafficSplit, in thousandths: it fits in 32 bits. */
export const MAX_SHARE = 1_000_000_000

const text = (value: unknown): string => (typeof value === 'string' ? value : '')
