// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { Fields } from '../../../controller/translate/fields.ts'
import { satisfies } from '../../../controller/translate/label-selector.ts'
import { Notes } from '../../../controller/translate/notes.ts'
import { readMatchLabels, SelectorIndex, selects } from '../../../controller/translate/selectors.ts'
import { toObject } from '../../support/yaml-objects.ts'

const object = toObject({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'cart', namespace: 'shop' } })
const fieldsOf = (map: Record<string, unknown>): Fields => new Fields(map, 'spec', new Notes(object))

t.test('a selector wants every label and finds in the index whom it selects', async (t) => {
  const index = new SelectorIndex<string>()
  index.add(new Map([['app', 'cart']]), 'one')
  index.add(
    new Map([
      ['app', 'cart'],
      ['version', 'v1'],
    ]),
    'two',
  )
  index.add(new Map(), 'nobody')
  t.same(index.find({ app: 'cart' }), ['one'])
  t.same(index.find({ version: 'v1', app: 'cart', more: 'x' }), ['one', 'two'])
  t.same(index.find({ version: 'v1' }), [])
  t.same(index.find({}), [])
  t.same(index.items, ['one', 'two'])
  t.notOk(selects(new Map([['constructor', 'x']]), {}))
})

t.test("Istio's selector is everything, labels, or unreadable; never less than was written", async (t) => {
  const read = (selector: unknown) => readMatchLabels(fieldsOf({ selector }), 'selector')
  t.equal(read(undefined), null)
  t.equal(read({}), null)
  t.equal(read({ matchLabels: {} }), null)
  t.same(read({ matchLabels: { app: 'cart' } }), new Map([['app', 'cart']]))
  for (const wrong of [1, [], { matchLabels: { app: 1 } }, { matchLabels: [] }, { matchExpressions: [] }]) {
    t.equal(read(wrong), 'unreadable', JSON.stringify(wrong))
  }
})

t.test("Kubernetes' selector knows its four operators; what it cannot read selects nobody", async (t) => {
  const labels = { team: 'a', tier: 'web' }
  const is = (selector: Record<string, unknown>) => satisfies(fieldsOf(selector), labels)
  const has = (operator: unknown, key: string, ...values: string[]) =>
    is({ matchExpressions: [{ key, operator, values }] })
  t.ok(is({}))
  t.ok(is({ matchLabels: { team: 'a' } }))
  t.notOk(is({ matchLabels: { team: 'a', tier: 'db' } }))
  t.ok(has('In', 'team', 'b', 'a'))
  t.notOk(has('In', 'team', 'b'))
  t.notOk(has('In', 'none', 'a'))
  t.ok(has('NotIn', 'team', 'b'))
  t.ok(has('NotIn', 'none', 'b'))
  t.notOk(has('NotIn', 'team', 'a'))
  t.ok(has('Exists', 'team'))
  t.notOk(has('Exists', 'toString'))
  t.ok(has('DoesNotExist', 'none'))
  t.notOk(has('DoesNotExist', 'team'))
  t.notOk(has('Matches', 'team'))
  t.notOk(has(undefined, 'team'))
  t.notOk(is({ matchLabels: { team: 1 } }))
  t.notOk(is({ matchExpressions: [7] }))
})
