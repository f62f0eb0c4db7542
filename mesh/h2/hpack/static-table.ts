// SPDX-License-Identifier: Apache-2.0
// HPACK's static table (RFC 7541 Appendix A): 61 fields both sides know. Index 0 is not used.

const ENTRIES: readonly (readonly [name: string, value: string])[] = [
  ['', ''],
  [':authority', ''],
  [':method', 'GET'],
  [':method', 'POST'],
  [':path', '/'],
  [':path', '/index.html'],
  [':scheme', 'http'],
  [':scheme', 'https'],
  [':status', '200'],
  [':status', '204'],
  [':status', '206'],
  [':status', '304'],
  [':status', '400'],
  [':status', '404'],
  [':status', '500'],
  ['accept-charset', ''],
  ['accept-encoding', 'gzip, deflate'],
  ['accept-language', ''],
  ['accept-ranges', ''],
  ['accept', ''],
  ['access-control-allow-origin', ''],
  ['age', ''],
  ['allow', ''],
  ['authorization', ''],
  ['cache-control', ''],
  ['content-disposition', ''],
  ['content-encoding', ''],
  ['content-language', ''],
  ['content-length', ''],
  ['content-location', ''],
  ['content-range', ''],
  ['content-type', ''],
  ['cookie', ''],
  ['date', ''],
  ['etag', ''],
  ['expect', ''],
  ['expires', ''],
  ['from', ''],
  ['host', ''],
  ['if-match', ''],
  ['if-modified-since', ''],
  ['if-none-match', ''],
  ['if-range', ''],
  ['if-unmodified-since', ''],
  ['last-modified', ''],
  ['link', ''],
  ['location', ''],
  ['max-forwards', ''],
  ['proxy-authenticate', ''],
  ['proxy-authorization', ''],
  ['range', ''],
  ['referer', ''],
  ['refresh', ''],
  ['retry-after', ''],
  ['server', ''],
  ['set-cookie', ''],
  ['strict-transport-security', ''],
  ['transfer-encoding', ''],
  ['user-agent', ''],
  ['vary', ''],
  ['via', ''],
  ['www-authenticate', ''],
]

/** Entries of the static table; dynamic indexes start right after. */
export const STATIC_ENTRIES = 61
export const STATIC_NAMES: readonly string[] = ENTRIES.map(([name]) => name)
export const STATIC_VALUES: readonly string[] = ENTRIES.map(([, value]) => value)

const FIRST_BY_NAME = new Map<string, number>()
for (let index = STATIC_ENTRIES; index > 0; index--) FIRST_BY_NAME.set(STATIC_NAMES[index] ?? '', index)

/** Lowest index with that name, or 0. Entries of one name are neighbours. */
export function findStaticName(name: string): number {
  return FIRST_BY_NAME.get(name) ?? 0
}

/** Index of exactly that field among the entries of one name from `first` on, or 0. */
export function findStaticField(first: number, name: string, value: string): number {
  for (let index = first; STATIC_NAMES[index] === name; index++) {
    if (STATIC_VALUES[index] === value) return index
  }
  return 0
}
