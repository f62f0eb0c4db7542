// SPDX-License-Identifier: Apache-2.0
// What a worker's ring carries beside records: spans, and what a tap has asked for. A first character that no record has tells
// them apart; readers of records never see them.

/** The line of a span (tracing/request-spans.ts). */
export const SPAN_LINE = '\u0001'
/** The record of a request that a tap wants. */
export const TAP_LINE = '\u0002'
/** Followed by a number: so many requests that a tap wants were not told. */
export const LOST_LINE = '\u0003'

/** True for a line that is no record. */
export function isAside(line: string): boolean {
  return line.charCodeAt(0) < 0x09
}
