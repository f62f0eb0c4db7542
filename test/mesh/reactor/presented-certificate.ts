// SPDX-License-Identifier: Apache-2.0
// Against node's own reader of certificates; what connections present is looked at in tls-socket.ts.
import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { TlsCredentials } from '../../../mesh/reactor/tls-context.ts'
import { TestAuthority } from '../../support/certificates.ts'

const CART = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }

t.test('identity and serial number are those of the certificate', async (t) => {
  const authority = await TestAuthority.create()
  for (let round = 0; round < 20; round++) {
    const { certificatePem, privateKeyPem } = await authority.sign(CART)
    const credentials = new TlsCredentials([certificatePem], privateKeyPem)
    const { serialNumber } = new X509Certificate(certificatePem)
    t.same(credentials.presented, {
      identity: 'spiffe://cluster.local/ns/shop/sa/cart',
      serialNumber: BigInt(`0x${serialNumber}`).toString(),
    })
    credentials.release()
  }
})

t.test('a certificate without a name is shown by its number', async (t) => {
  const authority = await TestAuthority.create()
  const { certificatePem, privateKeyPem } = await authority.sign(CART, { uris: [] })
  const credentials = new TlsCredentials([certificatePem], privateKeyPem)
  t.equal(credentials.presented.identity, '')
  t.match(credentials.presented.serialNumber, /^\d{5,}$/)
  credentials.release()
})
