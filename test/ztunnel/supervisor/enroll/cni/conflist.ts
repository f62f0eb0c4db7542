// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { isRefusal } from '../../../../../mesh/errors/refusal.ts'
import {
  isSameConfiguration,
  isUsable,
  listOfPlugin,
  type PluginEntry,
  withoutPlugin,
  withPlugin,
} from '../../../../../ztunnel/supervisor/enroll/cni/conflist.ts'

const ENTRY: PluginEntry = {
  type: 'sidestep-cni',
  spool: '/run/sidestep-cni',
  timeoutMs: 2000,
  onTimeout: 'start',
  alwaysStart: 'istio-system',
  bootSeconds: 120,
}
const BRIDGE = { type: 'bridge', bridge: 'cni0', ipam: { type: 'host-local' }, unknown: [1, { a: null }] }
const listOf = (plugins: readonly object[], more: object = {}): string =>
  JSON.stringify({ cniVersion: '0.4.0', name: 'lab', plugins, ...more })
const parse = (text: unknown) => (typeof text === 'string' ? JSON.parse(text) : text)

t.test('our plugin comes last, and all that is not ours stays', async (t) => {
  const before = listOf([BRIDGE, { type: 'portmap' }], { disableCheck: true })
  t.same(parse(withPlugin(before, ENTRY)), {
    ...{ cniVersion: '0.4.0', name: 'lab', disableCheck: true },
    plugins: [BRIDGE, { type: 'portmap' }, ENTRY],
  })
})

t.test('what is as it should be is not touched; what is not is put right', async (t) => {
  const right = listOf([BRIDGE, ENTRY])
  t.equal(withPlugin(right, ENTRY), right)
  const wrong = [
    [ENTRY, BRIDGE],
    [BRIDGE, ENTRY, ENTRY],
    [BRIDGE, { ...ENTRY, timeoutMs: 1 }],
  ]
  for (const plugins of wrong)
    t.same(parse(withPlugin(listOf(plugins), ENTRY)).plugins, [BRIDGE, ENTRY], JSON.stringify(plugins))
})

t.test('the settings of who comes after us are left to him', async (t) => {
  const other = listOf([BRIDGE, { ...ENTRY, timeoutMs: 1 }])
  t.equal(withPlugin(other, ENTRY, true), other)
  t.same(parse(withPlugin(listOf([BRIDGE]), ENTRY, true)).plugins, [BRIDGE, ENTRY])
})

t.test('what cannot be chained is refused', async (t) => {
  const bad = [
    '',
    'no JSON',
    '[]',
    'null',
    '{}',
    listOf([]),
    listOf([BRIDGE], { cniVersion: '0.2.0' }),
    listOf([BRIDGE], { cniVersion: 7 }),
  ]
  for (const text of bad) t.match(withPlugin(text, ENTRY), { code: 'CNI_CONFIG' }, text)
  for (const text of ['', '{}', '[]', '{"type":7}']) t.match(listOfPlugin(text), { code: 'CNI_CONFIG' }, text)
})

t.test('a single plugin becomes a list of one', async (t) => {
  const plugin = JSON.stringify({ cniVersion: '1.0.0', name: 'one', ...BRIDGE })
  t.same(parse(listOfPlugin(plugin)), {
    ...{ cniVersion: '1.0.0', name: 'one' },
    plugins: [{ cniVersion: '1.0.0', name: 'one', ...BRIDGE }],
  })
})

t.test('a runtime takes lists with plugins, and plugins with a type', async (t) => {
  t.equal(isUsable(listOf([BRIDGE]), true), true)
  t.equal(isUsable(listOf([]), true), false)
  t.equal(isUsable('{"type":"bridge"}', false), true)
  t.equal(isUsable('{"type":"bridge"}', true), false)
  t.equal(isUsable('{"typ', false), false)
})

t.test('put in and taken out, every list says what it said before', async () => {
  const plugin = fc.dictionary(fc.string(), fc.jsonValue()).map((fields) => ({ ...fields, type: 'other' }))
  const list = fc.tuple(
    fc.dictionary(fc.string(), fc.jsonValue()),
    fc.array(plugin, { minLength: 1, maxLength: 4 }),
  )
  fc.assert(
    fc.property(list, ([fields, plugins]) => {
      const before = JSON.stringify({ ...fields, cniVersion: '1.0.0', plugins })
      const edited = withPlugin(before, ENTRY)
      if (isRefusal(edited)) return false
      const isIn = JSON.parse(edited).plugins.length === plugins.length + 1
      return (
        isIn && withPlugin(edited, ENTRY) === edited && isSameConfiguration(withoutPlugin(edited), before)
      )
    }),
  )
  fc.assert(fc.property(fc.string(), (text) => withoutPlugin(text) === text))
})
