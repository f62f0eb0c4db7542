// SPDX-License-Identifier: Apache-2.0
// Connected pairs of real sockets on one reactor, for the contract suite and the socket tests.
import type { ByteStream, ByteStreamHandler, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { CertificateGrace } from '../../mesh/reactor/certificate-grace.ts'
import { createDirectPair } from '../../mesh/reactor/direct-pair.ts'
import { AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM } from '../../mesh/reactor/ffi/constants.ts'
import { socketpair } from '../../mesh/reactor/ffi/libc.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import type { RevokedCertificates } from '../../mesh/reactor/presented-certificate.ts'
import { Reactor } from '../../mesh/reactor/reactor.ts'
import { createSocket, localAddress } from '../../mesh/reactor/socket-options.ts'
import { startConnect } from '../../mesh/reactor/tcp-connect.ts'
import { openListener, TcpListener } from '../../mesh/reactor/tcp-listener.ts'
import { TcpSocket } from '../../mesh/reactor/tcp-socket.ts'
import { type PeerCheck, TlsContext, TlsCredentials } from '../../mesh/reactor/tls-context.ts'
import type { PeerFacts } from '../../mesh/reactor/tls-handshake.ts'
import { TlsSocket } from '../../mesh/reactor/tls-socket.ts'
import type { PairUnderTest } from './byte-stream-contract.ts'
import type { TestAuthority } from './certificates.ts'

/** Consecutive turns of 4 ms without any event after which a reactor counts as settled. */
const QUIET_TURNS = 4

/** Runs turns until `isDone()`, at most `deadlineMs`; then lets pending work finish. */
export function runUntil(reactor: Reactor, isDone: () => boolean, deadlineMs = 5000): void {
  const end = performance.now() + deadlineMs
  while (!isDone() && performance.now() < end) reactor.runTurn(5)
  settle(reactor, () => false)
}

/** Runs turns until `isDone()` or until nothing has happened for some turns. */
export function settle(reactor: Reactor, isDone: () => boolean): void {
  for (let quiet = 0; quiet < QUIET_TURNS && !isDone(); ) quiet = reactor.runTurn(4) ? 0 : quiet + 1
}

/** A handler that ignores everything: what tests replace. */
export const ignoringHandler: ByteStreamHandler = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} }

/** Two connected TCP descriptors over loopback. */
export function connectDescriptors(reactor: Reactor): [client: number, server: number] {
  const listening = openListener('127.0.0.1', 0)
  let client = -1
  let server = -1
  const listener = new TcpListener(
    reactor,
    listening,
    {
      onAccept: (fd) => (server = fd),
      onAcceptRefused: (error) => {
        throw error
      },
    },
    false,
  )
  const port = localAddress(listening)?.port ?? 0
  startConnect(reactor, createSocket(2, SOCK_STREAM), '127.0.0.1', port, 2000, {
    onConnected(fd) {
      reactor.unwatch(fd)
      client = fd
    },
    onConnectFailed(reason) {
      throw new Error(reason.detail)
    },
  })
  runUntil(reactor, () => client >= 0 && server >= 0)
  listener.close()
  reactor.runTurn(0)
  return [client, server]
}

function pairOf(reactor: Reactor, near: ByteStream, far: ByteStream, free: () => void): PairUnderTest {
  return {
    near,
    far,
    settle: (isDone) => settle(reactor, isDone),
    allocateBlock,
    close() {
      near.destroy({ code: 'SHUTDOWN', detail: 'test' })
      far.destroy({ code: 'SHUTDOWN', detail: 'test' })
      settle(reactor, () => false)
      free()
      reactor.destroy()
    },
  }
}

/** A TCP pair over loopback. */
export function createTcpPair(): PairUnderTest {
  const reactor = new Reactor()
  const [client, server] = connectDescriptors(reactor)
  const near = new TcpSocket(reactor, client, ignoringHandler)
  const far = new TcpSocket(reactor, server, ignoringHandler)
  return pairOf(reactor, near, far, () => {})
}

/** A pair without the kernel. */
export function createDirectPairUnderTest(): PairUnderTest {
  const reactor = new Reactor()
  const [near, far] = createDirectPair(reactor, reactor.pool)
  return pairOf(reactor, near, far, () => {})
}

/** A pair of Unix stream sockets: TLS needs no TCP. */
export function createUnixDescriptors(): [number, number] {
  const pair = allocateBlock(8)
  socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair.address)
  return [pair.bytes.readInt32LE(0), pair.bytes.readInt32LE(4)]
}

/** What each side of a handshake presents and accepts. */
export interface TlsEnd {
  readonly certificatePem: string
  readonly privateKeyPem: string
  readonly rootsPem: readonly string[]
  readonly peerCheck?: PeerCheck
  readonly revoked?: RevokedCertificates
  readonly grace?: CertificateGrace
}

/** How a handshake ended on one side. */
export interface HandshakeOutcome {
  socket: TlsSocket | null
  peer: PeerFacts | null
  failure: CloseReason | null
}

/** Drives one handshake; both outcomes are filled when it returns, unless one side still waits. */
export function handshake(
  reactor: Reactor,
  clientEnd: TlsEnd,
  serverEnd: TlsEnd,
  handshakeTimeoutMs = 2000,
  descriptors: readonly [client: number, server: number] = connectDescriptors(reactor),
): { readonly client: HandshakeOutcome; readonly server: HandshakeOutcome } {
  const [clientFd, serverFd] = descriptors
  const start = (role: 'client' | 'server', fd: number, end: TlsEnd): HandshakeOutcome => {
    const outcome: HandshakeOutcome = { socket: null, peer: null, failure: null }
    const context = new TlsContext(end.rootsPem)
    const credentials = new TlsCredentials([end.certificatePem], end.privateKeyPem)
    new TlsSocket(reactor, fd, {
      role,
      context,
      credentials,
      peerCheck: end.peerCheck ?? (() => null),
      ...(end.revoked === undefined ? {} : { revoked: end.revoked }),
      grace: end.grace ?? null,
      handshakeTimeoutMs,
      handler: {
        onSecure(socket, peer) {
          outcome.socket = socket
          outcome.peer = peer
          socket.setHandler({ ...ignoringHandler, onClose: (reason) => (outcome.failure = reason) })
        },
        onHandshakeFailed: (reason) => (outcome.failure = reason),
      },
    })
    context.free()
    credentials.release()
    return outcome
  }
  const client = start('client', clientFd, clientEnd)
  const server = start('server', serverFd, serverEnd)
  runUntil(
    reactor,
    () =>
      (client.socket !== null || client.failure !== null) &&
      (server.socket !== null || server.failure !== null),
  )
  return { client, server }
}

/** A TLS pair with certificates of `authority`. */
export async function prepareTlsPairs(authority: TestAuthority): Promise<() => PairUnderTest> {
  const one = await authority.sign({
    trustDomain: 'cluster.local',
    namespace: 'test',
    serviceAccount: 'client',
  })
  const two = await authority.sign({
    trustDomain: 'cluster.local',
    namespace: 'test',
    serviceAccount: 'server',
  })
  const rootsPem = [authority.rootPem]
  return () => {
    const reactor = new Reactor()
    const { client, server } = handshake(reactor, { ...one, rootsPem }, { ...two, rootsPem })
    if (client.socket === null || server.socket === null) throw new Error(JSON.stringify([client, server]))
    return pairOf(reactor, client.socket, server.socket, () => {})
  }
}
