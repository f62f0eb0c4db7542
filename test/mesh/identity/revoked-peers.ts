// SPDX-License-Identifier: Apache-2.0
// Real tunnels on one reactor, some of them with peers whose certificate is revoked later.
import t from 'tap'
import { fingerprintOf } from '../../../mesh/identity/revocation-list.ts'
import { type Reporter, RevokedPeers } from '../../../mesh/identity/revoked-peers.ts'
import { shareRevoked } from '../../../mesh/identity/revoked-set.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import { TestAuthority } from '../../support/certificates.ts'
import { handshake, runUntil, settle } from '../../support/reactor-pairs.ts'

const authority = await TestAuthority.create()
const rootsPem = [authority.rootPem]
const CART = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }
const [own, good, bad] = await Promise.all(
  [1, 2, 3].map(async () => ({ ...(await authority.sign(CART)), rootsPem })),
)
if (own === undefined || good === undefined || bad === undefined) throw new Error('no certificates')
const BAD_IS_REVOKED = shareRevoked([fingerprintOf(bad.certificatePem)])
const NONE = shareRevoked([])

t.test('tunnels of revoked peers end, in either role; the others do not', async (t) => {
  const reactor = new Reactor()
  const counted: Reporter[] = []
  const revoked = new RevokedPeers(reactor, (reporter) => counted.push(reporter))
  const end = { ...own, revoked }
  const inbound = Array.from({ length: 70 }, () => handshake(reactor, bad, end).server)
  const outbound = handshake(reactor, end, bad).client
  const others = [handshake(reactor, good, end).server, handshake(reactor, end, good).client]
  const hit = [...inbound, outbound]
  t.ok([...hit, ...others].every(({ socket }) => socket !== null))
  revoked.replace(NONE)
  settle(reactor, () => false)
  t.same(counted, [])

  revoked.replace(BAD_IS_REVOKED)
  t.ok(counted.length < hit.length, 'not all in one turn')
  revoked.replace(BAD_IS_REVOKED) // a second list in the middle of it
  runUntil(reactor, () => hit.every(({ failure }) => failure !== null))
  t.ok(hit.every(({ failure }) => failure?.code === 'CERT_REVOKED'))
  t.ok(others.every(({ failure }) => failure === null))
  t.equal(counted.filter((each) => each === 'source').length, 1)
  t.equal(counted.filter((each) => each === 'destination').length, 70)

  const refused = handshake(reactor, bad, end).server
  t.equal(refused.failure?.code, 'CERT_REVOKED')
  revoked.replace(NONE)
  t.ok(handshake(reactor, bad, end).server.socket, 'nothing is kept of the set before')
})

t.test('failed handshakes count when it was for this', async (t) => {
  const counted: Reporter[] = []
  const revoked = new RevokedPeers(new Reactor(), (reporter) => counted.push(reporter))
  revoked.onHandshakeFailed({ code: 'CERT_EXPIRED', detail: '' }, 'source')
  revoked.onHandshakeFailed({ code: 'CERT_REVOKED', detail: '' }, 'source')
  t.same(counted, ['source'])
})
