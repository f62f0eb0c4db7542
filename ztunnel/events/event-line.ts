// SPDX-License-Identifier: Apache-2.0
// An event of a pod is one line of JSON: the record of a connection as its worker wrote it, or a line of ours about the pod
// itself. Lines are kept and passed on as they are; what has to be known of one is looked up in its text, because main does
// this for every connection of the node. Pure.

/** Something that happened to a pod, but for its connections. `msg` is a constant phrase. */
export interface PodEvent {
  readonly msg: string
  readonly [field: string]: string | number
}

/** Whose connection a record is. */
export interface RecordOwner {
  /** `namespace/name`; '' when the record does not name it. */
  readonly pod: string
  /** Its own end, without port; '' when the pod is named. */
  readonly ip: string
}

/** Every line begins with its time: `{"time":"2026-01-01T00:00:00.000Z",`. */
const TIME_START = 9
const TIME_END = 33
/** Where `"msg"` stands. */
const MESSAGE_START = 35
const COMPLETE = '"msg":"connection complete"'
const COMPLETE_OK = `${COMPLETE},"reason":"OK"`

/** The line of an event. `nowMs` is epoch ms. */
export function formatEvent(nowMs: number, event: PodEvent): string {
  return JSON.stringify({ time: new Date(nowMs).toISOString(), ...event })
}

/** RFC 3339 with milliseconds: sorts as text. */
export function timeOf(line: string): string {
  return line.slice(TIME_START, TIME_END)
}

/** A connection that ended well. */
export function isGoodEnd(line: string): boolean {
  return line.startsWith(COMPLETE_OK, MESSAGE_START)
}

/** The record of a connection, and no line about the pod itself. */
export function isConnectionRecord(line: string): boolean {
  return line.startsWith(COMPLETE, MESSAGE_START)
}

/** Whose connection it was: of an outbound one the source, of an inbound one the destination. */
export function ownerOf(line: string): RecordOwner {
  const side = textOf(line, 'direction') === 'outbound' ? 'src' : 'dst'
  const name = textOf(line, `${side}.workload`)
  const namespace = textOf(line, `${side}.namespace`)
  if (name !== '' && namespace !== '') return { pod: `${namespace}/${name}`, ip: '' }
  const ip = textOf(line, `${side}.addr`)
    .replace(/:\d+$/, '')
    .replace(/^\[|\]$/g, '')
  return { pod: '', ip }
}

/** A line as an object; null for one that is none: a ring or a dump may have cut it. */
export function parseLine(line: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null // as: an object
  } catch {
    return null
  }
}

/**
 * The text of a field; '' without it, and for one with escapes: names of pods and addresses have none. No value can be taken
 * for a field: its quotes are escaped.
 */
function textOf(line: string, field: string): string {
  const key = `"${field}":"`
  const start = line.indexOf(key)
  if (start < 0) return ''
  const end = line.indexOf('"', start + key.length)
  const text = line.slice(start + key.length, Math.max(start + key.length, end))
  return text.includes('\\') ? '' : text
}
