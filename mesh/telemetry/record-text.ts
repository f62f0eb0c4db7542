// SPDX-License-Identifier: Apache-2.0
// Texts that records are put together from, by concatenation. What somebody else may have written is escaped, and nearly always
// needs not: a look at its characters is cheaper than a serializer.

// A worker ends many requests in one millisecond, and nearly all in one second.
let secondMs = Number.NaN
let secondText = ''

/** RFC 3339 in UTC with milliseconds. */
export function timeText(atMs: number): string {
  const wholeMs = Math.floor(atMs)
  const ms = wholeMs % 1000
  if (wholeMs - ms !== secondMs) {
    secondMs = wholeMs - ms
    secondText = new Date(secondMs).toISOString().slice(0, -4)
  }
  return `${secondText}${ms < 10 ? '00' : ms < 100 ? '0' : ''}${ms}Z`
}

const QUOTE = 0x22
const BACKSLASH = 0x5c

/** Printable ASCII that neither JSON nor a line of text has to escape. */
export function isPlainUnit(unit: number): boolean {
  return unit >= 0x20 && unit <= 0x7e && unit !== QUOTE && unit !== BACKSLASH
}

function isPlain(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (!isPlainUnit(text.charCodeAt(i))) return false
  return true
}

function cut(text: string, maxChars: number): string {
  return text.length > maxChars ? `${text.slice(0, maxChars)}…` : text
}

/** `,"name":"value"`; '' for an empty value. */
export function jsonField(name: string, value: string, maxChars: number): string {
  if (value === '') return ''
  const isShort = value.length <= maxChars
  if (isShort && isPlain(value)) return `,"${name}":"${value}"`
  return `,"${name}":${JSON.stringify(cut(value, maxChars))}`
}

/** For a line of text: quotes, backslashes and all that is not printable ASCII become `\xNN`, one for each byte. */
export function lineText(value: string, maxChars: number): string {
  const text = value.length > maxChars ? value.slice(0, maxChars) : value
  if (isPlain(text)) return text
  let escaped = ''
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    escaped += isPlainUnit(unit) ? text[i] : bytesText(text.charCodeAt(i))
  }
  return escaped
}

/** Header fields have one byte per character; the rare text that has more is told by two. */
function bytesText(unit: number): string {
  const low = `\\x${(unit & 0xff).toString(16).padStart(2, '0')}`
  return unit > 0xff ? `\\x${(unit >> 8).toString(16).padStart(2, '0')}${low}` : low
}
