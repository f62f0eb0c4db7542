// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { jsonField, lineText } from '../../../mesh/telemetry/record-text.ts'

const LONG = 64

t.test('a field is JSON, whatever it has', async (t) => {
  t.equal(jsonField('a', '', LONG), '')
  t.equal(jsonField('a', 'b c', LONG), ',"a":"b c"')
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: LONG, minLength: 1 }), (value) => {
      const { a } = JSON.parse(`{"x":0${jsonField('a', value, LONG)}}`) as { a: string } // as: made here
      return a === value
    }),
  )
  t.equal(jsonField('a', 'x'.repeat(LONG + 1), LONG), `,"a":"${'x'.repeat(LONG)}…"`)
})

t.test('a text of a line has neither quote nor control character, and can be read back', async (t) => {
  t.equal(lineText('a"b\\c\n\xe9', LONG), 'a\\x22b\\x5cc\\x0a\\xe9')
  t.equal(lineText('plain text/1.0 (x; y)', LONG), 'plain text/1.0 (x; y)')
  t.equal(lineText('\u2028', LONG), '\\x20\\x28')
  t.equal(lineText('abcdef', 3), 'abc')
  const bytes = fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)) })
  fc.assert(
    fc.property(bytes, (value) => {
      const text = lineText(value, 1000)
      const read = text.replace(/\\x([0-9a-f]{2})/g, (_, hex: string) =>
        String.fromCharCode(Number.parseInt(hex, 16)),
      )
      return /^[ -~]*$/.test(text) && !text.includes('"') && read === value
    }),
  )
})
