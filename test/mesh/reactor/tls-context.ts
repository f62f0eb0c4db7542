// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { refuse } from '../../../mesh/errors/refusal.ts'
import { openHandles } from '../../../mesh/reactor/ffi/handle-counts.ts'
import { ERR_get_error } from '../../../mesh/reactor/ffi/openssl.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import { TlsContext, TlsCredentials } from '../../../mesh/reactor/tls-context.ts'
import { TlsSocket } from '../../../mesh/reactor/tls-socket.ts'
import { TestAuthority } from '../../support/certificates.ts'
import { connectDescriptors, handshake, ignoringHandler, runUntil } from '../../support/reactor-pairs.ts'

const authority = await TestAuthority.create()
const rootsPem = [authority.rootPem]
const identity = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }
const good = { ...(await authority.sign(identity)), rootsPem }

t.test('a check that throws refuses the peer: nothing is thrown through C', async (t) => {
  const reactor = new Reactor()
  const throwing = {
    ...good,
    peerCheck: () => {
      throw new Error('planted')
    },
  }
  const { client, server } = handshake(reactor, good, throwing)
  runUntil(reactor, () => client.failure !== null)
  t.match(server.failure, { code: 'INTERNAL', detail: /planted/ })
  t.match(client.failure?.detail, /certificate unknown/, 'alert 46')
})

t.test(
  'the identity is checked inside the handshake: a bad peer gets alert 46, in either role',
  async (t) => {
    for (const role of ['client', 'server'] as const) {
      const reactor = new Reactor()
      const picky = { ...good, peerCheck: () => refuse('IDENTITY_MISMATCH', 'not you') }
      const pair = role === 'client' ? handshake(reactor, picky, good) : handshake(reactor, good, picky)
      const [refusing, refused] = role === 'client' ? [pair.client, pair.server] : [pair.server, pair.client]
      runUntil(reactor, () => refused.failure !== null)
      t.match(refusing.failure, { code: 'IDENTITY_MISMATCH', detail: 'not you' })
      t.match(refused.failure?.detail, /certificate unknown/)
    }
  },
)

t.test('a failed handshake leaves the error queue empty: the next connection is not blamed', async (t) => {
  const reactor = new Reactor()
  const expired = { ...(await authority.signBad('expired', identity)), rootsPem }
  const bad = handshake(reactor, expired, good)
  t.equal(bad.server.failure?.code, 'CERT_EXPIRED')
  const { client, server } = handshake(reactor, good, good)
  t.same([client.failure, server.failure], [null, null])
  client.socket?.end()
  server.socket?.end()
  runUntil(reactor, () => client.failure !== null && server.failure !== null)
  t.same([client.failure?.code, server.failure?.code], ['OK', 'OK'])
  t.equal(Number(ERR_get_error()), 0)
})

t.test('credentials are of use until they end or are revoked', async (t) => {
  const nobody = { size: 0, hasCertificate: () => false }
  const own = new TlsCredentials([good.certificatePem], good.privateKeyPem)
  t.ok(own.isUsable(nobody))
  const asked: string[] = []
  const list = (isListed: boolean) => ({
    size: 1,
    hasCertificate: (_issuer: Uint8Array, serial: Uint8Array) => {
      asked.push(BigInt(`0x${Buffer.from(serial).toString('hex')}`).toString())
      return isListed
    },
  })
  t.ok(own.isUsable(list(false)))
  t.notOk(own.isUsable(list(true)))
  t.ok(own.isRevoked(list(true)))
  t.same(new Set(asked), new Set([own.presented.serialNumber]))
  const expired = await authority.signBad('expired', identity)
  const old = new TlsCredentials([expired.certificatePem], expired.privateKeyPem)
  t.notOk(old.isUsable(nobody))
  t.notOk(old.isRevoked(nobody))
  for (const each of [own, old]) each.release()
})

t.test('contexts and credentials may be freed while connections still use them', async (t) => {
  const before = openHandles()
  const reactor = new Reactor()
  const [clientFd, serverFd] = connectDescriptors(reactor)
  let isSecure = 0
  let closed = 0
  const sockets = (
    [
      ['client', clientFd],
      ['server', serverFd],
    ] as const
  ).map(([role, fd]) => {
    const context = new TlsContext(rootsPem)
    const credentials = new TlsCredentials([good.certificatePem], good.privateKeyPem)
    const socket = new TlsSocket(reactor, fd, {
      role,
      context,
      credentials,
      peerCheck: () => null,
      handshakeTimeoutMs: 2000,
      handler: {
        onSecure(it) {
          isSecure++
          it.setHandler({ ...ignoringHandler, onClose: () => closed++ })
        },
        onHandshakeFailed: (reason) => t.fail(reason.detail),
      },
    })
    context.free()
    context.free()
    credentials.release()
    return socket
  })
  t.equal(openHandles().EVP_PKEY, before.EVP_PKEY + 2, 'the sockets hold the keys')
  runUntil(reactor, () => isSecure === 2)
  t.equal(isSecure, 2)
  for (const socket of sockets) socket.end()
  runUntil(reactor, () => closed === 2)
  reactor.destroy()
  t.same(openHandles(), before)
})
