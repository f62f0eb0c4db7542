// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { connectHeaders } from '../../../mesh/hbone/connect-attempt.ts'
import { formatDivertedFor, parseDivertedFor } from '../../../mesh/hbone/diversion.ts'

const NAME = fc.stringMatching(/^[a-z0-9][a-z0-9.-]{0,20}$/)

t.test('what one side states the other side reads', async (t) => {
  const callers = fc.option(fc.record({ trustDomain: NAME, namespace: NAME, serviceAccount: NAME }))
  fc.assert(
    fc.property(callers, (caller) => {
      t.same(parseDivertedFor(formatDivertedFor(caller)), { kind: 'diversion', caller })
    }),
  )
})

t.test('no header is no diversion, and anything else is refused', async (t) => {
  t.equal(parseDivertedFor(''), null)
  const odd = [
    'Unknown',
    'unknown ',
    'spiffe://',
    'spiffe://td/ns/a/sa/b, unknown',
    'front',
    'x'.repeat(9000),
  ]
  for (const value of odd)
    t.match(parseDivertedFor(value), { kind: 'refusal', code: 'CONNECT_DIVERSION' }, value.slice(0, 40))
})

t.test('it is the last header of a CONNECT, and of no other', async (t) => {
  t.same(connectHeaders({ authority: 'a:1', forwardedNetwork: 'n', divertedFor: 'unknown' }).slice(4), [
    ...['x-forwarded-network', 'n', 'x-sidestep-diverted-for', 'unknown'],
  ])
  t.same(connectHeaders({ authority: 'a:1', divertedFor: '' }).slice(4), [])
})
