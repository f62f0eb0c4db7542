// SPDX-License-Identifier: Apache-2.0
// Header lists: finding, and leaving out.
import t from 'tap'
import { dropHeaders, headerValue, isInterim, pseudoHeader } from '../../../mesh/http/header-list.ts'

t.test('the first value of a name is found, values are not taken for names', async (t) => {
  t.equal(headerValue(['a', '1', 'b', '2', 'b', '3'], 'b'), '2')
  t.equal(headerValue(['a', 'b'], 'b'), undefined)
  t.equal(pseudoHeader([':method', ':path', ':path', '/'], ':path'), '/')
  t.equal(pseudoHeader(['x', 'y', ':path', '/'], ':path'), '', 'behind an ordinary field nothing is believed')
})

t.test('fields are taken out by name, the others keep their order', async (t) => {
  const list = ['a', 'b', 'b', 'a', 'c', '', 'b', 'x']
  dropHeaders(list, new Set(['b']))
  t.same(list, ['a', 'b', 'c', ''])
  dropHeaders(list, new Set(['a', 'c']))
  t.same(list, [])
})

t.test('an interim answer is one of 1xx but 101', async (t) => {
  for (const status of ['100', '103', '199']) t.ok(isInterim([':status', status]))
  for (const status of ['101', '200', '']) t.notOk(isInterim([':status', status]))
  t.notOk(isInterim(['x', '100']))
  t.notOk(isInterim([]))
})
