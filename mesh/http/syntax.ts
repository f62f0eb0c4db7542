// SPDX-License-Identifier: Apache-2.0
// Which characters may stand where in a head, of either version (RFC 9110 §5, RFC 9112, RFC 9113 §8.2). Text is one byte per
// character (latin1), as bytes of a head are read. Strict: what two parsers could read differently is refused. Pure; linear.

export const SP = 0x20
export const HTAB = 0x09
export const CR = 0x0d
export const LF = 0x0a
export const COLON = 0x3a

const TOKEN = table("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
// SPEC RFC3986 §3.3, §3.4: what a path and a query consist of; `[`, `]`, `{`, `}`, `|`, `^`, `` ` ``, `"`, `<`, `>` and `\` are
// sent by browsers and read alike by everybody. No white space, no control character, no byte of another alphabet, no `#`.
const TARGET = range(0x21, 0x7e, '#')
const FIELD_VALUE = range(0x20, 0xff, '\x7f')
FIELD_VALUE[HTAB] = 1
// SPEC RFC3986 §3.2.2, without what only some decode (%) or take for a list (,): what hosts are really named by.
const AUTHORITY = table('-._~:[]0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ')
const HEX = new Int8Array(256).fill(-1)
for (let digit = 0; digit < 16; digit++) {
  HEX[digit.toString(16).charCodeAt(0)] = digit
  HEX[digit.toString(16).toUpperCase().charCodeAt(0)] = digit
}

function table(characters: string): Uint8Array {
  const found = new Uint8Array(256)
  for (const each of characters) found[each.charCodeAt(0)] = 1
  return found
}

function range(first: number, last: number, except: string): Uint8Array {
  const found = new Uint8Array(256).fill(1, first, last + 1)
  for (const each of except) found[each.charCodeAt(0)] = 0
  return found
}

function consistsOf(allowed: Uint8Array, text: string): boolean {
  for (let at = 0; at < text.length; at++) if (allowed[text.charCodeAt(at)] !== 1) return false
  return text.length > 0
}

// Each stops at the end by itself: behind it is NaN, and a table that is asked for NaN costs as much as thirty characters.

/** Index of the first character from `at` on that is no token character. */
export function endOfToken(text: string, at: number): number {
  while (at < text.length && TOKEN[text.charCodeAt(at)] === 1) at++
  return at
}

/** Index of the first character from `at` on that no request target has. */
export function endOfTarget(text: string, at: number): number {
  while (at < text.length && TARGET[text.charCodeAt(at)] === 1) at++
  return at
}

/** Index of the first character from `at` on that no field value has. */
export function endOfFieldValue(text: string, at: number): number {
  while (at < text.length && FIELD_VALUE[text.charCodeAt(at)] === 1) at++
  return at
}

/** True for a byte of a token. */
export function isTokenByte(byte: number): boolean {
  return TOKEN[byte] === 1
}

/** True for a method, a field name, an option of Connection. */
export function isToken(text: string): boolean {
  return consistsOf(TOKEN, text)
}

/** 0–15, or -1. */
export function hexDigit(char: number): number {
  return HEX[char] ?? -1
}

/** Most are: no port, no brackets. */
const HOST_NAME = /^[-._~0-9A-Za-z]+$/

/** True for `host` or `host:port` that everybody reads alike: RFC 3986 §3.2 without user information. */
export function isAuthority(text: string): boolean {
  if (!consistsOf(AUTHORITY, text)) return false
  if (HOST_NAME.test(text)) return true
  const match = /^(?:\[[0-9A-Fa-f:.]+\]|[^:[\]]+)(?::(\d{0,5}))?$/.exec(text)
  return match !== null && Number(match[1] ?? 0) <= 65_535
}

/** A length as RFC 9110 §8.6 writes it, digits alone; undefined when it is something else or cannot be counted exactly. */
export function parseLength(text: string): number | undefined {
  if (text.length === 0 || text.length > 16) return undefined
  let value = 0
  for (let at = 0; at < text.length; at++) {
    const digit = text.charCodeAt(at) - 0x30
    if (digit < 0 || digit > 9) return undefined
    value = value * 10 + digit
  }
  return value <= Number.MAX_SAFE_INTEGER ? value : undefined
}
