// SPDX-License-Identifier: Apache-2.0
// The reader without a schema; with the one of configuration files: test/mesh/model/local-config.ts.
import t from 'tap'
import { isSeq, type Node } from 'yaml'
import { formatFinding } from '../../../mesh/model/finding.ts'
import { Fields, quote, YamlReader } from '../../../mesh/model/yaml-reader.ts'
import { startCpuTime } from '../../support/cpu-time.ts'

const open = (text: string): YamlReader => new YamlReader(text, 'f', [])
function readFields(reader: YamlReader, known: readonly string[]): Fields {
  const { root } = reader
  const fields = root === undefined ? undefined : reader.fields(root, '', known, [])
  if (fields === undefined) throw new Error(reader.findings.map(formatFinding).join('\n'))
  return fields
}
const findingsOf = (reader: YamlReader): string[] => reader.findings.map(formatFinding)

t.test('values are read by type; what is not there is the default', async (t) => {
  const reader = open('{text: a, count: 5, yes: true, kind: one, list: [a, b], nothing: ~, empty: }')
  const fields = readFields(reader, ['text', 'count', 'yes', 'kind', 'list', 'nothing', 'empty'])
  t.equal(reader.text(fields, 'text'), 'a')
  t.equal(reader.integer(fields, 'count', 0, 9, 1), 5)
  t.equal(reader.flag(fields, 'yes'), true)
  t.equal(reader.oneOf(fields, 'kind', ['one', 'two'], 'two'), 'one')
  t.same(
    reader.list(fields, 'list', (node, path) => reader.readText(node, path)),
    ['a', 'b'],
  )
  for (const key of ['nothing', 'empty', 'absent']) {
    t.equal(reader.text(fields, key, 'fallback'), 'fallback', key)
    t.equal(reader.integer(fields, key, 0, 9, 7), 7)
    t.equal(reader.flag(fields, key, true), true)
    t.equal(reader.oneOf(fields, key, ['one', 'two'], 'two'), 'two')
    t.same(
      reader.list(fields, key, () => 1),
      [],
    )
  }
  t.same(reader.findings, [])
})

t.test('a wrong value is a finding at its place, and the default is read on with', async (t) => {
  const known = ['a']
  for (const [text, read, fallback, message] of [
    ['5', (r, f) => r.text(f, 'a', 'x'), 'x', 'expected text, found the number 5'],
    ['[]', (r, f) => r.text(f, 'a', 'x'), 'x', 'expected text, found a list'],
    ['{}', (r, f) => r.text(f, 'a', 'x'), 'x', 'expected text, found a map'],
    ['true', (r, f) => r.text(f, 'a', 'x'), 'x', 'expected text, found the boolean true'],
    ['1.5', (r, f) => r.integer(f, 'a', 0, 9, 3), 3, 'expected a whole number from 0 to 9, found 1.5'],
    ['10', (r, f) => r.integer(f, 'a', 0, 9, 3), 3, 'expected a whole number from 0 to 9, found 10'],
    ['.inf', (r, f) => r.integer(f, 'a', 0, 9, 3), 3, 'expected a whole number from 0 to 9, found Infinity'],
    ['.nan', (r, f) => r.integer(f, 'a', 0, 9, 3), 3, 'expected a whole number from 0 to 9, found NaN'],
    ['"5"', (r, f) => r.integer(f, 'a', 0, 9, 3), 3, 'expected a whole number from 0 to 9, found text "5"'],
    ['"true"', (r, f) => r.flag(f, 'a', true), true, 'expected true or false, found text "true"'],
    ['tow', (r, f) => r.oneOf(f, 'a', ['one', 'two'], 'one'), 'one', /found "tow"; did you mean "two"\?/],
    ['x', (r, f) => r.list(f, 'a', () => 1), [], 'expected a list, found text "x"'],
    ['!Foo x', (r, f) => r.text(f, 'a', 'x'), 'x', /!Foo/],
  ] as readonly (readonly [string, (r: YamlReader, f: Fields) => unknown, unknown, string | RegExp])[]) {
    const reader = open(`\n  a: ${text}`)
    const { root } = reader
    if (root === undefined) {
      t.match(findingsOf(reader).join(), message, 'the document itself is refused')
      continue
    }
    const value = read(reader, readFields(reader, known))
    t.same(value, fallback, text)
    t.equal(reader.findings.length, 1)
    t.match(reader.findings[0], { file: 'f', line: 2, column: 6, path: 'a' }, text)
    t.match(findingsOf(reader)[0], message)
  }
})

t.test('keys: unknown, repeated, missing and complex ones are findings', async (t) => {
  for (const [text, message] of [
    ['{nmae: x}', 'nmae: unknown field; did you mean "name"?'],
    ['{name: x, name: y}', 'name: the key stands twice in this map'],
    ['{}', 'name: required field is missing'],
    ['{name: ~}', 'name: required field is missing'],
    ['{[a, b]: x, name: y}', 'expected a plain key'],
    ['{~: x, name: y}', 'expected a plain key'],
    ['[name]', 'expected a map, found a list'],
  ] as const) {
    const reader = open(text)
    if (reader.root !== undefined) reader.fields(reader.root, '', ['name'], ['name'])
    t.ok(
      findingsOf(reader).some((line) => line.includes(message)),
      `${text}: ${findingsOf(reader).join(' | ')}`,
    )
  }
  const reader = open('{80: a, 0x50: b, "80x": c, 1.50: d}')
  const entries = reader.root === undefined ? [] : (reader.entries(reader.root, 'at') ?? [])
  t.same(
    entries.map(({ key, path }) => [key, path]),
    [
      ['80', 'at.80'],
      ['0x50', 'at.0x50'],
      ['80x', 'at.80x'],
      ['1.50', 'at.1.50'],
    ],
    'a key is what is written, not what YAML makes of it',
  )
  t.equal(new Fields(entries[0]?.value as Node, 'top', new Map()).pathOf('key'), 'top.key') // as: read above
})

t.test('a hostile key is shortened and escaped where it is named', async (t) => {
  for (const [key, path] of [
    ['a.b/c-d:e_1', 'a.b/c-d:e_1'],
    ['a b', '"a b"'],
    ['\\u001b[31m', '"\\u001b[31m"'],
    ['x'.repeat(1000), `"${'x'.repeat(60)}…"`],
  ] as const) {
    const reader = open(`"${key}": 1`)
    if (reader.root !== undefined) reader.fields(reader.root, 'top', [], [])
    t.match(reader.findings, [{ path: `top.${path}`, message: 'unknown field' }])
  }
})

t.test('a key without a value is unset, a finding where values are needed, and has a place', async (t) => {
  for (const text of ['\n{b: 1, name: ~}', '\n{b: 1, name: }', '\n{b: 1, name}', '\nb: 1\n? name']) {
    for (const needsValues of [false, true]) {
      const reader = open(text)
      const { root } = reader
      const fields = root === undefined ? undefined : reader.fields(root, '', ['name', 'b'], [], needsValues)
      t.equal(fields?.get('name'), undefined)
      t.same(
        reader.findings.map(({ path, message }) => `${path}: ${message}`),
        needsValues ? ['name: expected a value, found nothing'] : [],
        text,
      )
    }
    const reader = open(text)
    const value = reader.root === undefined ? undefined : reader.entries(reader.root, '')?.[1]?.value
    if (value !== undefined) reader.readText(value, 'name')
    t.match(reader.findings, [{ message: 'expected text, found nothing' }], text)
    t.ok((reader.findings[0]?.line ?? 0) > 1, 'where it is')
  }
})

t.test('names of the language are keys like any other', async (t) => {
  const reader = open('{__proto__: {x: 1}, constructor: a, toString: b}')
  const entries = reader.root === undefined ? [] : (reader.entries(reader.root, '') ?? [])
  t.same(
    entries.map(({ key }) => key),
    ['__proto__', 'constructor', 'toString'],
  )
  const fields = readFields(open('{}'), ['constructor'])
  t.equal(fields.get('constructor'), undefined)
})

t.test('aliases are followed once; undefined, doubled and chained ones are findings', async (t) => {
  const good = open('{a: &x hello, b: *x}')
  const fields = readFields(good, ['a', 'b'])
  t.equal(good.text(fields, 'b'), 'hello')
  for (const [text, message] of [
    ['{a: *x, b: &x hello, c: &x other}', 'the anchor &x stands twice'],
    ['{a: *x}', 'x'],
  ] as const) {
    const reader = open(text)
    if (reader.root !== undefined) reader.text(readFields(reader, ['a', 'b', 'c']), 'a')
    t.ok(
      findingsOf(reader).some((line) => line.includes(message)),
      `${text}: ${findingsOf(reader).join(' | ')}`,
    )
  }
})

t.test('a billion laughs end at the limit of values, quickly', async (t) => {
  const levels = Array.from({ length: 9 }, (_, i) => `l${i + 1}: &l${i + 1} [${`*l${i},`.repeat(9)}*l${i}]`)
  const reader = open(`l0: &l0 [${'x,'.repeat(9)}x]\n${levels.join('\n')}\n`)
  let count = 0
  const readDeep = (node: Node, path: string): number | undefined => {
    const value = reader.tagged(node, path)?.node
    if (isSeq(value)) reader.items(node, 'deep', readDeep)
    else if (value !== undefined) count++
    return undefined
  }
  const cpuMs = startCpuTime()
  const top = readFields(
    reader,
    Array.from({ length: 10 }, (_, i) => `l${i}`),
  ).get('l9')
  if (top !== undefined) readDeep(top, 'l9')
  t.ok(count > 1_000_000 && count < 2_000_000, `${count} of ten thousand million`)
  t.match(findingsOf(reader), [/more than 2000000 values/])
  t.equal(reader.findings.length, 1, 'said once')
  t.ok(cpuMs() < 20_000)
})

t.test('hostile text costs a bounded time and is a finding, never an exception', async (t) => {
  for (const [name, text] of [
    ['deep lists', '['.repeat(200_000)],
    ['deep maps', '{a: '.repeat(50_000)],
    ['deep blocks', Array.from({ length: 3000 }, (_, i) => `${' '.repeat(i)}a:`).join('\n')],
    ['too long', 'a'.repeat(16 * 1024 * 1024 + 1)],
    ['bytes', '\u0000\u0001\ufffe'],
    ['two documents', 'a: 1\n---\nb: 2'],
  ] as const) {
    const reader = open(text)
    const root = reader.root
    if (root !== undefined) reader.fields(root, '', [], [])
    t.ok(reader.findings.length > 0, name)
    for (const { line, column } of reader.findings) t.ok(line >= 1 && column >= 1)
  }
  const many = open(`[${'5,'.repeat(5000)}5]`)
  if (many.root !== undefined) many.items(many.root, '', (node, path) => many.readText(node, path))
  t.equal(many.findings.length, 100, 'more help nobody')
  const cpuMs = startCpuTime()
  const wide = open(Array.from({ length: 50_000 }, (_, i) => `k${i}: 1`).join('\n'))
  t.equal(wide.root === undefined ? 0 : wide.entries(wide.root, '')?.length, 50_000)
  t.ok(cpuMs() < 10_000, 'keys are not compared with each other')
})

t.test('quoted input is short and escaped', async (t) => {
  t.equal(quote('a"b\n\u001b[31m'), '"a\\"b\\n\\u001b[31m"')
  t.equal(quote('x'.repeat(1000)), `"${'x'.repeat(60)}…"`)
})
