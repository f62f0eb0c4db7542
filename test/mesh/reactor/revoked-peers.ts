// SPDX-License-Identifier: Apache-2.0
// Peers whose certificate is revoked, over real handshakes, in either role.
import t from 'tap'
import { fingerprintOf } from '../../../mesh/identity/revocation-list.ts'
import { RevokedSet, shareRevoked } from '../../../mesh/identity/revoked-set.ts'
import { openHandles } from '../../../mesh/reactor/ffi/handle-counts.ts'
import { ERR_get_error } from '../../../mesh/reactor/ffi/openssl.ts'
import type { RevokedCertificates } from '../../../mesh/reactor/presented-certificate.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import { TestAuthority } from '../../support/certificates.ts'
import { handshake, runUntil } from '../../support/reactor-pairs.ts'

const authority = await TestAuthority.create()
const rootsPem = [authority.rootPem]
const CART = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }
const [good, bad] = await Promise.all([1, 2].map(async () => ({ ...(await authority.sign(CART)), rootsPem })))
if (good === undefined || bad === undefined) throw new Error('no certificates')
const revoked = new RevokedSet(shareRevoked([fingerprintOf(bad.certificatePem)]))

t.test('a revoked peer is refused inside the handshake and told why, in either role', async (t) => {
  for (const role of ['client', 'server'] as const) {
    const reactor = new Reactor()
    const strict = { ...good, revoked }
    const pair = role === 'client' ? handshake(reactor, strict, bad) : handshake(reactor, bad, strict)
    const [refusing, refused] = role === 'client' ? [pair.client, pair.server] : [pair.server, pair.client]
    runUntil(reactor, () => refused.failure !== null)
    t.match(refusing.failure, { code: 'CERT_REVOKED', detail: 'the certificate of the peer is revoked' })
    t.equal(refusing.socket, null)
    t.match(refused.failure?.detail, /certificate revoked/, 'alert 44')
    t.equal(Number(ERR_get_error()), 0)
  }
})

t.test('who is not revoked is not troubled, whatever he looks at', async (t) => {
  const reactor = new Reactor()
  const strict = { ...good, revoked }
  const { client, server } = handshake(reactor, strict, strict)
  t.same([client.failure, server.failure], [null, null])
  t.notOk(client.socket?.isPeerRevoked(revoked))
  const before = openHandles()
  const other = handshake(reactor, bad, good)
  t.same([other.client.failure, other.server.failure], [null, null], 'nobody looks')
  t.ok(other.server.socket?.isPeerRevoked(revoked))
  t.notOk(other.client.socket?.isPeerRevoked(revoked), 'its own certificate is another matter')
  other.server.socket?.destroy({ code: 'CERT_REVOKED', detail: '' })
  runUntil(reactor, () => other.client.failure !== null)
  t.equal(other.server.failure?.code, 'CERT_REVOKED')
  t.notOk(other.server.socket?.isPeerRevoked(revoked), 'it is closed')
  const after = openHandles()
  t.same([after.SSL, after.BIO], [before.SSL, before.BIO])
})

t.test('a list that comes in the middle of a handshake counts', async (t) => {
  const reactor = new Reactor()
  let asked = 0
  const late: RevokedCertificates = {
    size: 1,
    hasCertificate: (...certificate) => ++asked > 2 && revoked.hasCertificate(...certificate),
  }
  const { client, server } = handshake(reactor, bad, { ...good, revoked: late })
  runUntil(reactor, () => client.failure !== null)
  t.match(server.failure, { code: 'CERT_REVOKED' })
  t.equal(server.socket, null)
  t.equal(asked, 3, 'root, leaf, and once more at the end')
})
