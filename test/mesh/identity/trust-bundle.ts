// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { parseTrustBundle } from '../../../mesh/identity/trust-bundle.ts'
import { TestAuthority } from '../../support/certificates.ts'

t.test('equal roots have equal ids, whatever their order or repetition', async (t) => {
  const one = (await TestAuthority.create()).rootPem
  const two = (await TestAuthority.create()).rootPem
  const a = parseTrustBundle(one + two)
  const b = parseTrustBundle(two + one + two)
  const c = parseTrustBundle(one)
  if (isRefusal(a) || isRefusal(b) || isRefusal(c)) throw new Error('refused')
  t.equal(a.id, b.id)
  t.not(a.id, c.id)
  t.equal(b.rootsPem.length, 2)
})

t.test('an empty, damaged or endless bundle is refused', async (t) => {
  const root = (await TestAuthority.create()).rootPem
  for (const text of ['', 'x', root.replace(/\n.{20}/, '\nAAAA'), root.repeat(65)]) {
    t.match(parseTrustBundle(text), { kind: 'refusal', code: 'CERT_INVALID' })
  }
})
