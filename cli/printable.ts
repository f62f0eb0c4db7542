// SPDX-License-Identifier: Apache-2.0
// Text of others as it may be shown on a terminal. Names, details and hosts come from peers, pods and manifests: a control
// character would move the cursor, clear the screen or answer for the user; a bidirectional one would make a name look like
// another. Everything a table or sentence shows goes through here, and only through here.

/** Characters of one value at most: the longest host name is 253. */
const MAX_VALUE_LENGTH = 400

// Controls (C0, DEL, C1), format characters (bidirectional, zero width, tags), surrogates without their other half, what
// nobody has assigned, separators that break lines, and all spaces but the plain one.
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu
/** Marks beyond this number on one letter climb over the lines above. */
const TOO_MANY_MARKS = /(\p{M}{2})\p{M}+/gu

/** One line without anything a terminal would obey; what was taken out is shown as its code point, `\u{1b}`. */
export function printable(text: string): string {
  // Cut first: a hostile text may be long, and what is cut off costs nothing. Escapes make it longer again, so cut after.
  const shown = text
    .slice(0, MAX_VALUE_LENGTH + 1)
    .replace(UNPRINTABLE, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`)
    .replace(TOO_MANY_MARKS, '$1')
  return shown.length > MAX_VALUE_LENGTH ? `${shown.slice(0, MAX_VALUE_LENGTH - 1)}…` : shown
}
