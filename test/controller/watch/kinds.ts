// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { kindKey } from '../../../controller/watch/config-object.ts'
import { WATCHED_KINDS } from '../../../controller/watch/kinds.ts'

t.test('every kind is listed once, with its plural and the versions in order of preference', async (t) => {
  const keys = WATCHED_KINDS.map(({ group, kind }) => kindKey(group, kind))
  t.equal(new Set(keys).size, keys.length)
  for (const { plural, versions, kind } of WATCHED_KINDS) {
    t.match(plural, /^[a-z]+s$/, kind)
    t.ok(versions.length > 0, kind)
    t.same(versions, [...new Set(versions)])
  }
})

t.test('only what an apiserver has by itself may be missing nowhere', async (t) => {
  const core = WATCHED_KINDS.filter(({ origin }) => origin === 'core').map(({ kind }) => kind)
  t.same(core, ['Namespace', 'Node', 'Pod', 'Service', 'EndpointSlice', 'NetworkPolicy'])
})
