// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { parseSubjectAltUris } from '../../../mesh/reactor/subject-alt-name.ts'

const URI = 0x86
const DNS = 0x82
function der(tag: number, content: Buffer): Buffer {
  const length = content.length
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), content])
  if (length < 0x100) return Buffer.concat([Buffer.of(tag, 0x81, length), content])
  return Buffer.concat([Buffer.of(tag, 0x82, length >> 8, length & 255), content])
}
const name = (tag: number, text: string): Buffer => der(tag, Buffer.from(text, 'latin1'))
const sequence = (...names: readonly Buffer[]): Buffer => der(0x30, Buffer.concat(names))

t.test('URIs are read in order, other kinds of names are skipped', async (t) => {
  const long = `spiffe://cluster.local/${'x'.repeat(300)}`
  const extension = sequence(
    name(DNS, 'a.example'),
    name(URI, 'spiffe://a'),
    name(0x87, '\x7f\0\0\x01'),
    name(URI, long),
  )
  t.same(parseSubjectAltUris(extension), ['spiffe://a', long])
  t.same(parseSubjectAltUris(sequence()), [])
  t.same(parseSubjectAltUris(sequence(name(DNS, 'a, URI:spiffe://b'))), [], 'no name hides in another')
})

t.test('what is malformed, too long or too much is refused whole', async (t) => {
  const good = name(URI, 'spiffe://a')
  const cases: Readonly<Record<string, Buffer>> = {
    empty: Buffer.alloc(0),
    'another type': der(0x31, good),
    'bytes behind the end': Buffer.concat([sequence(good), Buffer.of(0)]),
    'a length over the end': Buffer.of(0x30, 4, URI, 9, 65, 66),
    'no length': Buffer.of(0x30, 1, URI),
    'an indefinite length': Buffer.of(0x30, 0x80, 0, 0),
    'a length that is not minimal': Buffer.of(0x30, 0x81, 2, URI, 0),
    'a padded length': Buffer.of(0x30, 0x82, 0, 0x81),
    'a control character': sequence(name(URI, 'spiffe://a\n')),
    'a NUL': sequence(name(URI, 'spiffe://a\0.evil')),
    'a blank': sequence(name(URI, 'spiffe://a b')),
    'beyond ASCII': sequence(name(URI, 'spiffe://\xe4')),
    'a long URI': sequence(name(URI, 'x'.repeat(2049))),
    'many names': sequence(...Array.from({ length: 65 }, () => good)),
  }
  for (const [what, bytes] of Object.entries(cases)) {
    t.match(parseSubjectAltUris(bytes), { kind: 'refusal', code: 'CERT_INVALID' }, what)
  }
  t.equal((parseSubjectAltUris(sequence(...Array.from({ length: 64 }, () => good))) as string[]).length, 64) // as: no refusal
})

t.test('any bytes give an answer, and every URI of it stood in them', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (raw, isWrapped) => {
      const bytes = isWrapped ? sequence(Buffer.from(raw)) : Buffer.from(raw)
      const found = parseSubjectAltUris(bytes)
      return isRefusal(found) || found.every((uri) => bytes.includes(uri, 0, 'latin1'))
    }),
    { numRuns: 2000 },
  )
})
