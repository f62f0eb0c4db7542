// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { refuse } from '../../../mesh/errors/refusal.ts'
import type { CloseReason } from '../../../mesh/reactor/byte-stream.ts'
import { openHandles } from '../../../mesh/reactor/ffi/handle-counts.ts'
import { allocateBlock } from '../../../mesh/reactor/ffi/native.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import { setResetOnClose } from '../../../mesh/reactor/socket-options.ts'
import { TcpSocket, tcpSocketCount } from '../../../mesh/reactor/tcp-socket.ts'
import { TlsContext, TlsCredentials } from '../../../mesh/reactor/tls-context.ts'
import { TlsSocket } from '../../../mesh/reactor/tls-socket.ts'
import { type BadCertificate, TestAuthority } from '../../support/certificates.ts'
import { RawTlsClient } from '../../support/raw-tls-client.ts'
import {
  connectDescriptors,
  handshake,
  ignoringHandler,
  runUntil,
  settle,
} from '../../support/reactor-pairs.ts'

const authority = await TestAuthority.create()
const rootsPem = [authority.rootPem]
const identity = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }
const good = { ...(await authority.sign(identity)), rootsPem }
const TRUST_DOMAIN = 'spiffe://cluster.local/'
const meshOnly = (uris: readonly string[]) =>
  uris.some((uri) => uri.startsWith(TRUST_DOMAIN)) ? null : refuse('TRUST_DOMAIN', uris.join())

t.test('a handshake is TLS 1.3, mutual, post-quantum, and tells both identities', async (t) => {
  const reactor = new Reactor()
  const { client, server } = handshake(reactor, good, good)
  t.match(client.peer, { protocol: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', group: 'X25519MLKEM768' })
  t.same(server.peer?.uris, ['spiffe://cluster.local/ns/shop/sa/cart'])
  client.socket?.destroy({ code: 'OK', detail: '' })
  settle(reactor, () => false)
  t.match(server.failure, { code: 'TUNNEL_RESET' })
})

t.test('each kind of bad client certificate is refused with its reason and an alert', async (t) => {
  const expected: Record<BadCertificate, string> = {
    expired: 'CERT_EXPIRED',
    'not-yet-valid': 'CERT_NOT_YET_VALID',
    'ca-as-leaf': 'CERT_INVALID',
    'no-spiffe-id': 'TRUST_DOMAIN',
    'other-trust-domain': 'TRUST_DOMAIN',
  }
  for (const [kind, code] of Object.entries(expected)) {
    const reactor = new Reactor()
    const bad = await authority.signBad(kind as BadCertificate, identity) // as: keys of the table above
    const { client, server } = handshake(reactor, { ...bad, rootsPem }, { ...good, peerCheck: meshOnly })
    runUntil(reactor, () => client.failure !== null)
    t.equal(server.failure?.code, code, kind)
    t.match(client.failure?.detail, /alert/, `${kind}: the client is told by an alert`)
  }
})

t.test('a server of an unknown root or the wrong identity is refused by the client', async (t) => {
  const stranger = await TestAuthority.create()
  const foreign = { ...(await stranger.sign(identity)), rootsPem }
  const first = handshake(new Reactor(), good, foreign)
  t.equal(first.client.failure?.code, 'CERT_INVALID')
  const picky = { ...good, peerCheck: () => refuse('IDENTITY_MISMATCH', 'expected somebody else') }
  t.equal(handshake(new Reactor(), picky, good).client.failure?.code, 'IDENTITY_MISMATCH')
})

t.test('a client without a certificate is refused for just that', async (t) => {
  const reactor = new Reactor()
  const [clientFd, serverFd] = connectDescriptors(reactor)
  const context = new TlsContext(rootsPem)
  const credentials = new TlsCredentials([good.certificatePem], good.privateKeyPem)
  let failure: CloseReason | null = null
  new TlsSocket(reactor, serverFd, {
    role: 'server',
    context,
    credentials,
    peerCheck: () => null,
    handshakeTimeoutMs: 2000,
    handler: { onSecure: () => t.fail('secure'), onHandshakeFailed: (reason) => (failure = reason) },
  })
  const client = new RawTlsClient(clientFd, context, null)
  runUntil(reactor, () => {
    client.handshake()
    return failure !== null
  })
  t.same(failure, { code: 'CERT_MISSING', detail: 'no certificate was presented' })
  client.close()
  context.free()
  credentials.release()
})

t.test('a peer that says nothing or garbage is dropped within its bounds', async (t) => {
  for (const [text, code] of [
    ['', 'HANDSHAKE_TIMEOUT'],
    ['GET / HTTP/1.1\r\n\r\n', 'TLS_HANDSHAKE'],
    ['\x16\x03\x01\xff\xff', 'TLS_HANDSHAKE'],
  ] as const) {
    const reactor = new Reactor()
    const [clientFd, serverFd] = connectDescriptors(reactor)
    const client = new TcpSocket(reactor, clientFd, ignoringHandler)
    let failure = ''
    new TlsSocket(reactor, serverFd, {
      role: 'server',
      context: new TlsContext(rootsPem),
      credentials: new TlsCredentials([good.certificatePem], good.privateKeyPem),
      peerCheck: () => null,
      handshakeTimeoutMs: 100,
      handler: { onSecure: () => t.fail('secure'), onHandshakeFailed: (reason) => (failure = reason.code) },
    })
    const block = allocateBlock(64)
    block.bytes.write(text, 16, 'latin1')
    client.write(block, 16, 16 + text.length)
    if (text.startsWith('\x16')) client.end()
    runUntil(reactor, () => failure !== '')
    t.equal(failure, code, JSON.stringify(text))
    client.destroy({ code: 'OK', detail: '' })
    settle(reactor, () => false)
  }
})

t.test('bulk data survives congestion and moving buffers', async (t) => {
  const reactor = new Reactor()
  const { client, server } = handshake(reactor, good, good)
  const block = allocateBlock(300_016)
  for (let i = 0; i < 300_000; i++) block.bytes[16 + i] = (i * 7) & 255
  let received = 0
  let isWrong = false
  server.socket?.setHandler({
    ...ignoringHandler,
    onData(data, start, end) {
      for (let i = start; i < end; i += 997) {
        if (data.bytes[i] !== ((((received + i - start) % 300_000) * 7) & 255)) isWrong = true
      }
      received += end - start
    },
  })
  let refusals = 0
  for (let i = 0; i < 100; i++) if (client.socket?.write(block, 16, 300_016) === false) refusals++
  runUntil(reactor, () => received >= 30_000_000)
  t.equal(client.failure, null)
  t.equal(received, 30_000_000)
  t.notOk(isWrong)
  t.ok(refusals > 0, 'the writer was asked to stop')
  t.equal(reactor.pool.takenBlocks, 0)
})

t.test('native objects are freed: created equals freed', async (t) => {
  const before = openHandles()
  const sockets = tcpSocketCount.open
  const reactor = new Reactor()
  for (let i = 0; i < 20; i++) {
    const { client, server } = handshake(reactor, good, good)
    client.socket?.end()
    server.socket?.end()
    runUntil(reactor, () => client.failure !== null && server.failure !== null)
    t.same([client.failure?.code, server.failure?.code], ['OK', 'OK'])
  }
  reactor.destroy()
  t.same(openHandles(), before)
  t.equal(tcpSocketCount.open, sockets)
  t.equal(reactor.pendingTimerCount, 0)
})

t.test(
  'a peer that never reads holds a bounded rest, nothing spins, and all of it arrives in the end',
  async (t) => {
    const reactor = new Reactor()
    const { client, server } = handshake(reactor, good, good)
    const [near, far] = [client.socket, server.socket]
    if (near === null || far === null) throw new Error('no handshake')
    far.pause()
    const piece = allocateBlock(70_016)
    for (let i = 0; i < piece.bytes.length; i++) piece.bytes[i] = (i * 11) & 255
    let written = 0
    // Odd lengths: what SSL_write is given again lies elsewhere and is longer than what it refused.
    const write = (): boolean => {
      const length = 1 + ((written * 7919) % 70_000)
      const isWritable = near.write(piece, 16, 16 + length)
      written += length
      return isWritable
    }
    while (write()) reactor.runTurn(0)
    settle(reactor, () => false)
    t.ok(near.bufferedBytes <= 65_536 + 70_000, `${near.bufferedBytes} bytes wait`)
    t.equal(reactor.runTurn(20), false, 'waiting for room makes no events')
    let received = 0
    let drains = 0
    near.setHandler({ ...ignoringHandler, onDrain: () => drains++ })
    far.setHandler({ ...ignoringHandler, onData: (_block, start, end) => (received += end - start) })
    far.resume()
    runUntil(reactor, () => received === written)
    t.equal(received, written)
    t.equal(drains, 1)
    t.equal(near.bufferedBytes, 0)
    t.equal(reactor.runTurn(20), false, 'room to write is not watched any longer than needed')
    t.equal(reactor.pool.takenBlocks, 0)
  },
)

t.test('a cut connection is told from one that ended, with bytes waiting too', async (t) => {
  for (const isBusy of [false, true]) {
    const reactor = new Reactor()
    const { client, server } = handshake(reactor, good, good)
    const piece = allocateBlock(1_000_016)
    if (isBusy) {
      server.socket?.pause()
      while (client.socket?.write(piece, 16, 1_000_016)) settle(reactor, () => false)
    }
    if (server.socket !== null) setResetOnClose(server.socket.fd)
    server.socket?.destroy({ code: 'SHUTDOWN', detail: '' })
    runUntil(reactor, () => client.failure !== null)
    t.equal(client.failure?.code, 'TUNNEL_RESET')
    t.equal(reactor.pool.takenBlocks, 0)
  }
})

t.test('a key update in the middle of congestion loses nothing', async (t) => {
  const reactor = new Reactor()
  const [clientFd, serverFd] = connectDescriptors(reactor)
  const context = new TlsContext(rootsPem)
  const credentials = new TlsCredentials([good.certificatePem], good.privateKeyPem)
  let server: TlsSocket | null = null
  let failure = ''
  new TlsSocket(reactor, serverFd, {
    role: 'server',
    context,
    credentials,
    peerCheck: () => null,
    handshakeTimeoutMs: 2000,
    handler: {
      onSecure(socket) {
        server = socket
        socket.setHandler({ ...ignoringHandler, onClose: (reason) => (failure = reason.code) })
      },
      onHandshakeFailed: (reason) => (failure = reason.detail),
    },
  })
  const client = new RawTlsClient(clientFd, context, credentials)
  runUntil(reactor, () => client.handshake() && server !== null)
  const socket = server as TlsSocket | null // as: set by a callback, which the compiler cannot see
  const block = allocateBlock(200_016)
  for (let i = 0; i < 200_000; i++) block.bytes[16 + i] = (i * 7) & 255
  let written = 0
  let updates = 0
  for (let isWritable = true; isWritable === true; written += 200_000) {
    isWritable = socket?.write(block, 16, 200_016) ?? false
    if (updates < 20 && client.requestKeyUpdate()) updates++
    settle(reactor, () => false)
  }
  for (let i = 0; i < 5; i++, settle(reactor, () => false)) if (client.requestKeyUpdate()) updates++
  t.ok(updates > 5, `${updates} updates were asked for`)
  t.equal(reactor.runTurn(20), false, 'what cannot be read before something is written makes no events')
  let isWrong = false
  let received = 0
  for (let turn = 0; turn < 2000 && received < written; turn++) {
    for (let chunk = client.read(); chunk.length > 0; chunk = client.read()) {
      for (let i = 0; i < chunk.length; i += 501) {
        if (chunk[i] !== ((((received + i) % 200_000) * 7) & 255)) isWrong = true
      }
      received += chunk.length
    }
    reactor.runTurn(1)
  }
  t.equal(received, written)
  t.notOk(isWrong)
  t.equal(failure, '')
  client.close()
  runUntil(reactor, () => failure !== '')
  context.free()
  credentials.release()
})
