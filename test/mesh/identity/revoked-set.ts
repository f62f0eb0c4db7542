// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { certificateFingerprint, RevokedSet, shareRevoked } from '../../../mesh/identity/revoked-set.ts'

const NAME = Buffer.from('name')

t.test('a set has what was put in, in any order, and nothing else', async (t) => {
  const serial = fc.uint8Array({ minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(fc.array(serial, { maxLength: 50 }), fc.array(serial, { maxLength: 20 }), (listed, asked) => {
      const fingerprints = listed.map((each) => certificateFingerprint(NAME, each))
      const set = new RevokedSet(shareRevoked(fingerprints))
      const numbers = new Set(listed.map((each) => Number(`0x${Buffer.from(each).toString('hex')}`)))
      t.equal(set.size, numbers.size)
      for (const each of [...listed, ...asked]) {
        const number = Number(`0x${Buffer.from(each).toString('hex')}`)
        t.equal(set.hasCertificate(NAME, each), numbers.has(number))
      }
    }),
  )
})

t.test('a serial number is a number: leading zeros say nothing, the issuer does', async (t) => {
  const plain = certificateFingerprint(NAME, Buffer.from([0x9f, 1]))
  t.ok(plain.equals(certificateFingerprint(NAME, Buffer.from([0, 0x9f, 1]))))
  t.notOk(plain.equals(certificateFingerprint(Buffer.from('other'), Buffer.from([0x9f, 1]))))
  t.notOk(new RevokedSet().hasCertificate(NAME, Buffer.from([1])))
})
