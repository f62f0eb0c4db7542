// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { printable } from '../../cli/printable.ts'

t.test('what a terminal would obey is shown as its code point', async (t) => {
  for (const [text, shown] of [
    ['shop/cart', 'shop/cart'],
    ['größe 日本 é', 'größe 日本 é'],
    ['\u001b[2Jgone', '\\u{1b}[2Jgone'],
    ['a\r\nb\tc\0', 'a\\u{d}\\u{a}b\\u{9}c\\u{0}'],
    ['\u009b31m\u007f', '\\u{9b}31m\\u{7f}'],
    ['user\u202etxt.exe', 'user\\u{202e}txt.exe'],
    ['a\u2066b\u200bc\ufeff', 'a\\u{2066}b\\u{200b}c\\u{feff}'],
    ['a\u2028b\u00a0c', 'a\\u{2028}b\\u{a0}c'],
    ['\ud800', '\\u{d800}'],
    ['\u{e0041}', '\\u{e0041}'],
    ['e\u0301\u0301\u0301\u0301\u0301', 'e\u0301\u0301'],
  ] as const)
    t.equal(printable(text), shown)
})

t.test('the length of a value is bounded, after the escapes', async (t) => {
  t.equal(printable('x'.repeat(400)), 'x'.repeat(400))
  t.equal(printable('x'.repeat(401)), `${'x'.repeat(399)}…`)
  t.equal(printable('\u001b'.repeat(5_000_000)).length, 400)
})

t.test('no text at all brings a terminal to do anything', async (t) => {
  const wild = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 600 }),
    fc
      .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 600 })
      .map((units) => String.fromCharCode(...units)),
  )
  fc.assert(
    fc.property(wild, (text) => {
      const shown = printable(text)
      return (
        shown.length <= 400 &&
        !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(shown) &&
        !/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/.test(shown)
      )
    }),
    { numRuns: 2000 },
  )
  t.pass('2000 texts')
})
