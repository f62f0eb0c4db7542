// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { Fields } from '../../../controller/translate/fields.ts'
import { MAX_FINDINGS_PER_OBJECT, Notes, quote } from '../../../controller/translate/notes.ts'
import { toObject } from '../../support/yaml-objects.ts'

const object = toObject({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'cart', namespace: 'shop' } })

/** Reads something out of a map; what was noted comes with it. */
function read<T>(map: Record<string, unknown>, reading: (fields: Fields) => T): [T, string[]] {
  const notes = new Notes(object)
  const value = reading(new Fields(map, 'spec', notes))
  return [value, notes.findings.map(({ code, path, message }) => `${code} ${path}: ${message}`)]
}

t.test('a value of the right type is read, a missing one and null are unset', async (t) => {
  const map = { text: 'a', number: 3, flag: true, list: ['x'], map: { a: 'b' }, nothing: null }
  t.same(
    read(map, (each) => each.text('text')),
    ['a', []],
  )
  t.same(
    read(map, (each) => each.integer('number', 1, 5)),
    [3, []],
  )
  t.same(
    read(map, (each) => each.flag('flag')),
    [true, []],
  )
  t.same(
    read(map, (each) => [...each.textMap('map')]),
    [[['a', 'b']], []],
  )
  t.same(
    read(map, (each) => each.texts('list')),
    [[{ text: 'x', path: 'spec.list[0]' }], []],
  )
  t.same(
    read(map, (each) => [each.text('nothing', 'd'), each.integer('no', 0, 1), each.flag('no')]),
    [['d', undefined, false], []],
  )
  t.same(
    read(map, (each) => each.keys()),
    [['text', 'number', 'flag', 'list', 'map'], []],
  )
})

t.test('a value of the wrong type is unset, and where it stands is told', async (t) => {
  t.same(
    read({ a: 1 }, (each) => each.text('a')),
    ['', ['WRONG_TYPE spec.a: expected text, found the number 1']],
  )
  t.same(
    read({ a: '1' }, (each) => each.integer('a', 1, 9)),
    [undefined, ['WRONG_TYPE spec.a: expected a whole number from 1 to 9, found text "1"']],
  )
  for (const wrong of [0, 10, 1.5, Number.NaN]) {
    t.equal(read({ a: wrong }, (each) => each.integer('a', 1, 9))[1].length, 1, String(wrong))
  }
  t.same(read({ a: 'yes' }, (each) => each.flag('a'))[1].length, 1)
  t.same(read({ a: [] }, (each) => each.fields('a').keys())[1], [
    'WRONG_TYPE spec.a: expected a map, found a list',
  ])
  t.same(read({ a: {} }, (each) => each.list('a'))[1], ['WRONG_TYPE spec.a: expected a list, found a map'])
  t.same(
    read({ a: [1, 'x', null] }, (each) => each.texts('a').map(({ text }) => text)),
    [
      ['x'],
      [
        'WRONG_TYPE spec.a[0]: expected text, found the number 1',
        'WRONG_TYPE spec.a[2]: expected text, found nothing',
      ],
    ],
  )
  t.same(
    read({ a: [{ b: 1 }, 2] }, (each) => each.items('a').length),
    [1, ['WRONG_TYPE spec.a[1]: expected a map, found the number 2']],
  )
  t.same(
    read({ a: { x: 'y', z: 1 } }, (each) => [...each.textMap('a').keys()]),
    [['x'], ['WRONG_TYPE spec.a.z: expected text, found the number 1']],
  )
})

t.test('what every object has from its prototype is no field', async (t) => {
  t.same(
    read({}, (each) => [each.raw('constructor'), each.raw('__proto__'), each.text('toString')]),
    [[undefined, undefined, ''], []],
  )
})

t.test('unknown fields are counted and told by the source, unknown values are told here', async (t) => {
  const notes = new Notes(object)
  new Fields({ form: 1, to: 2, when: null }, 'spec.rules[0]', notes).refuseUnknown(['from', 'to'])
  t.equal(notes.errors, 1)
  t.same(notes.findings, [])
  const [mode, found] = read({ mode: 'STRIKT' }, (each) => each.oneOf('mode', ['STRICT', 'PERMISSIVE'], null))
  t.equal(mode, null)
  t.equal(found.length, 1)
  t.equal(read({ mode: 'STRICT' }, (each) => each.oneOf('mode', ['STRICT'], null))[0], 'STRICT')
})

t.test('an object of many mistakes gets a page of findings and knows how many there were', async (t) => {
  const notes = new Notes(object)
  for (let index = 0; index < 1000; index++) notes.add('INVALID_VALUE', '', 'wrong', 'mend it')
  t.equal(notes.findings.length, MAX_FINDINGS_PER_OBJECT + 1)
  t.equal(notes.findings.at(-1)?.code, 'MORE_FINDINGS')
  t.equal(notes.errors, 1000)
  notes.add('PEER_MODE_DISABLE', '', 'a warning', 'is no error')
  t.equal(notes.errors, 1000)
})

t.test('foreign text is short and escaped in messages', async (t) => {
  t.equal(quote('a"\n'), '"a\\"\\n"')
  t.equal(quote('x'.repeat(1_000_000)).length, 63)
  const [, found] = read({ ['k'.repeat(1_000_000)]: 1 }, (each) => each.text('k'.repeat(1_000_000)))
  t.ok((found[0]?.length ?? 0) < 300)
})
