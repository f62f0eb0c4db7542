// SPDX-License-Identifier: Apache-2.0
// What a worker's ring carries beside records: spans, and what a tap has asked for. Their first character tells them apart.

/** The line of a span (tracing/request-spans.ts). */
export const SPAN_LINE = '\u0001'
/** The record of a request that a tap wants. */
export const TAP_LINE = '\u0002'
/** Followed by a number: so many requests that a tap wants were not told. */
export const LOST_LINE = '\u0003'
