// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { MAX_FILE_BYTES, readDocuments } from '../../../controller/watch/yaml-documents.ts'
import { startCpuTime } from '../../support/cpu-time.ts'

const read = (text: string) => readDocuments(text, 'a.yaml')
const told = (text: string): string[] =>
  read(text).mistakes.map(({ origin, message }) => `${origin?.line}:${origin?.column} ${message}`)

t.test('every document of a file is a value with its place', async (t) => {
  const { values, mistakes, isPartial } = read('---\nkind: A\n---\n# nothing\n---\n\n  kind: B\n---\n')
  t.same(mistakes, [])
  t.equal(isPartial, false)
  t.same(
    values.map(({ value, origin }) => [value, origin.line, origin.column]),
    [
      [{ kind: 'A' }, 2, 1],
      [{ kind: 'B' }, 7, 3],
    ],
  )
})

t.test('JSON is YAML; lists of objects are unpacked', async (t) => {
  const { values } = read('{"kind": "PodList", "items": [{"kind": "A"},\n {"kind": "B"}]}')
  t.same(
    values.map(({ value, origin }) => [value, origin.line, origin.column]),
    [
      [{ kind: 'A' }, 1, 31],
      [{ kind: 'B' }, 2, 2],
    ],
  )
  t.same(read('kind: List\n').values.length, 0)
  t.same(told('kind: List\nitems: x\n'), ['2:1 expected a list'])
})

t.test('a part is found by its path, also in a list and behind an anchor', async (t) => {
  const text =
    'kind: List\nitems:\n- kind: A\n  spec: &s\n    ports:\n    - port: 1\n      name: x\n- kind: B\n  spec: *s\n'
  const [first, second] = read(text).values
  t.match(first?.locate(['spec', 'ports', 0, 'name']), { file: 'a.yaml', line: 7, column: 7 })
  t.match(first?.locate(['spec', 'missing', 'x']), { line: 4, column: 3 })
  t.match(first?.locate([]), { line: 3, column: 3 })
  t.match(second?.locate(['spec', 'ports', 0, 'port']), { line: 6, column: 7 })
  t.match(second?.locate(['kind']), { line: 8, column: 3 })
})

t.test('what is broken spoils its document only', async (t) => {
  const { values, mistakes, isPartial } = read('kind: A\n---\nkind: [B\n---\nkind: C\n')
  t.ok(isPartial)
  t.ok(mistakes.length > 0)
  t.ok(values.some(({ value }) => JSON.stringify(value) === '{"kind":"A"}'))
})

t.test('what could mean two things is refused with its place', async (t) => {
  t.same(told('kind: A\nspec:\n  a: 1\n  a: 2\n'), ['4:3 the key "a" stands twice in this map'])
  t.same(told('kind: A\nspec: {1: x, "1": y}\n'), ['2:14 the key "1" stands twice in this map'])
  t.same(told('a: &a {x: 1}\nb:\n  <<: *a\n'), ['3:3 merge keys are not read: write the fields out'])
  t.same(told('? [a]\n: b\n'), ['1:3 expected a plain key'])
  t.match(told('a: !thing 1\n')[0], /^1:4 Unresolved tag/)
  t.match(told('a: *nothing\n')[0], /nothing/)
})

t.test('a hostile file costs a bounded time and is told', async (t) => {
  const cpuMs = startCpuTime()
  const laughs = Array.from(
    { length: 12 },
    (_, i) => `a${i}: &a${i} [${i === 0 ? 'x' : `*a${i - 1},`.repeat(10)}]`,
  )
  t.match(told(laughs.join('\n'))[0], /Excessive alias count/)
  t.match(told('['.repeat(200_000))[0], /\w/)
  t.match(told('{a: '.repeat(20_000))[0], /\w/)
  t.match(told('- '.repeat(20_000))[0], /\w/)
  t.same(told('x'.repeat(MAX_FILE_BYTES + 1)), [`1:1 the file has more than ${MAX_FILE_BYTES} characters`])
  const many = read('---\na: 1\n'.repeat(20_002))
  t.equal(many.values.length, 20_000)
  t.ok(many.isPartial)
  t.ok(cpuMs() < 30_000)
})

t.test('no text makes it throw', async (t) => {
  const part = fc.oneof(
    fc.string(),
    fc.constantFrom('---\n', 'a: ', '- ', '*a', '&a ', '{', '[', ']', '}', '\n', ' ', '"', '|', '? '),
  )
  fc.assert(
    fc.property(fc.array(part), (parts) => {
      const { values, mistakes } = read(parts.join(''))
      for (const { locate } of values) locate(['spec', 0, 'a'])
      return mistakes.every(({ origin }) => (origin?.line ?? 0) >= 1 && (origin?.column ?? 0) >= 1)
    }),
    { numRuns: 2000, seed: 11 },
  )
  t.pass('2000 texts')
})
