// SPDX-License-Identifier: Apache-2.0
// Header fields as every part of the mesh passes them on, whichever version of HTTP they came by. Pure; each cost is linear.

/**
 * `[name, value, name, value, …]`, one byte per character: cheap to make and to walk. Names are lower case; pseudo-header fields
 * (`:method`, `:status`, …) come first.
 */
export type HeaderList = readonly string[]

const COLON = 0x3a

/** First value of a field, or undefined. */
export function headerValue(headers: HeaderList, name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) if (headers[i] === name) return headers[i + 1]
  return undefined
}

/** Value of a pseudo-header field, or '': nothing after the first ordinary field is looked at. */
export function pseudoHeader(headers: HeaderList, name: string): string {
  for (let i = 0; i + 1 < headers.length && headers[i]?.charCodeAt(0) === COLON; i += 2)
    if (headers[i] === name) return headers[i + 1] ?? ''
  return ''
}

/** Takes the fields of these names out of a list that is still being made. */
export function dropHeaders(headers: string[], names: ReadonlySet<string>): void {
  let to = 0
  for (let from = 0; from + 1 < headers.length; from += 2) {
    const name = headers[from] ?? ''
    if (names.has(name)) continue
    headers[to++] = name
    headers[to++] = headers[from + 1] ?? ''
  }
  headers.length = to
}

/** True for an answer that another one follows (1xx). 101 is the last one of HTTP. */
export function isInterim(headers: HeaderList): boolean {
  return headers[0] === ':status' && headers[1]?.charCodeAt(0) === 0x31 && headers[1] !== '101'
}
