// SPDX-License-Identifier: Apache-2.0
// A gRPC server over TLS for the controller's interfaces. Methods see raw messages, so that a caller encodes once and
// sends the same bytes to many. TLS is ours, @grpc/grpc-js gets finished connections: so the certificate can be
// replaced live, a client certificate may be absent, and connections are counted. PING is answered by node's HTTP/2
// and never punished: ztunnel sends one every 30 s (SPEC HBONE §1.1).
import { constants } from 'node:crypto'
import type { AddressInfo, Socket } from 'node:net'
import { createServer, type TLSSocket, type Server as TlsServer } from 'node:tls'
import { type ConnectionInjector, Server, ServerCredentials } from '@grpc/grpc-js'
import { MeshError } from '../errors/mesh-error.ts'
import { type Clock, systemClock } from '../runtime/clock.ts'
import { type GrpcMethod, methodDefinition } from './calls.ts'

/** Longest request: four times what the largest real one has (a resumed stream of 10,000 names). */
export const MAX_REQUEST_BYTES = 2 * 1024 * 1024
/** Two streams and eight certificate requests are what a ztunnel has open; the rest is room for tools. */
const MAX_STREAMS_PER_CONNECTION = 100
/** Connections of one server: more nodes than one controller is made for. */
export const MAX_CONNECTIONS = 8_192
/** Of one address: a lab or a NAT full of nodes, but nobody alone takes the place of all. */
export const MAX_CONNECTIONS_PER_ADDRESS = 1_024
/** A client that is slower with its TLS handshake is cut. */
const TLS_HANDSHAKE_TIMEOUT_MS = 10_000
/** A connection is asked for a sign of life this often: a vanished node must not stay connected. */
const KEEPALIVE_INTERVAL_MS = 30_000
/** Wait for that sign. */
const KEEPALIVE_TIMEOUT_MS = 20_000
/** Longest unary call when the client sets no nearer deadline. */
const UNARY_TIMEOUT_MS = 30_000

/** Who the server is, in PEM; and whose certificates it believes. */
export interface GrpcServerIdentity {
  /** Leaf first, then intermediates. The leaf is no CA and names the host clients dial (SPEC HBONE §0.2). */
  readonly certificatePem: string
  readonly privateKeyPem: string
  /** Roots of client certificates. Absent: none is asked for. Present: one may be shown, none is demanded. */
  readonly clientRootsPem?: string
}

/** What a GrpcServer is made of. */
export interface GrpcServerOptions {
  readonly host: string
  /** 0: the system chooses. */
  readonly port: number
  readonly identity: GrpcServerIdentity
  readonly methods: readonly GrpcMethod[]
  readonly clock?: Clock
  readonly maxConnections?: number
  readonly maxConnectionsPerAddress?: number
  /** Longest unary call. Default 30 s. */
  readonly unaryTimeoutMs?: number
  /** Hears of failures that are no MeshError: the client only learns that there was one. */
  readonly onDefect?: (path: string, cause: unknown) => void
}

/** A server that listens. stop() ends it. */
export class GrpcServer {
  /** Where it listens. */
  readonly port: number
  readonly #tls: TlsServer
  readonly #grpc: Server
  readonly #clock: Clock
  readonly #sockets = new Set<Socket>()
  readonly #perAddress = new Map<string, number>()

  private constructor(
    tls: TlsServer,
    grpc: Server,
    injector: ConnectionInjector,
    clock: Clock,
    maxPerAddress: number,
  ) {
    this.port = (tls.address() as AddressInfo).port // as: it listens on an IP
    this.#tls = tls
    this.#grpc = grpc
    this.#clock = clock
    tls.on('connection', (socket: Socket) => {
      const address = socket.remoteAddress ?? ''
      const count = this.#perAddress.get(address) ?? 0
      if (count >= maxPerAddress) {
        socket.destroy()
        return
      }
      this.#perAddress.set(address, count + 1)
      this.#sockets.add(socket)
      socket.on('close', () => this.#onClose(socket, address))
    })
    tls.on('secureConnection', (socket: TLSSocket) => {
      socket.on('error', () => {}) // its end is what matters, and 'close' follows
      if (socket.alpnProtocol === 'h2') injector.injectConnection(socket)
      else socket.destroy()
    })
  }

  /** Listens. @throws MeshError SYSTEM_CALL when it cannot, CERT_INVALID when the identity is unusable. */
  static async start(options: GrpcServerOptions): Promise<GrpcServer> {
    const clock = options.clock ?? systemClock
    const grpc = new Server({
      'grpc.max_receive_message_length': MAX_REQUEST_BYTES,
      'grpc.max_send_message_length': -1, // what is sent is ours; ztunnel accepts 200 MiB
      'grpc.max_concurrent_streams': MAX_STREAMS_PER_CONNECTION,
      'grpc.keepalive_time_ms': KEEPALIVE_INTERVAL_MS,
      'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
      'grpc.enable_channelz': 0,
    })
    const context = {
      clock,
      unaryTimeoutMs: options.unaryTimeoutMs ?? UNARY_TIMEOUT_MS,
      onDefect: options.onDefect ?? (() => {}),
    }
    for (const method of options.methods) {
      const { definition, implementation } = methodDefinition(method, context)
      grpc.addService({ [method.path]: definition }, { [method.path]: implementation })
    }
    const tls = createTls(options.identity)
    tls.maxConnections = options.maxConnections ?? MAX_CONNECTIONS
    await listen(tls, options.host, options.port)
    // TLS is done when gRPC gets a connection, hence insecure. No handshake ends before this turn does.
    const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure())
    const maxPerAddress = options.maxConnectionsPerAddress ?? MAX_CONNECTIONS_PER_ADDRESS
    return new GrpcServer(tls, grpc, injector, clock, maxPerAddress)
  }

  /** Open connections, those in their handshake included. */
  get connectionCount(): number {
    return this.#sockets.size
  }

  /**
   * Handshakes from now on use this; connections stay. Whether client certificates are asked for was decided at the
   * start. @throws MeshError CERT_INVALID and nothing changes.
   */
  replaceIdentity(identity: GrpcServerIdentity): void {
    try {
      this.#tls.setSecureContext(secureContext(identity))
    } catch (cause) {
      throw new MeshError('CERT_INVALID', { detail: 'the certificate of the server is unusable', cause })
    }
  }

  /**
   * Takes no more connections and calls (GOAWAY) and waits for the calls that run; what is left after `graceMs` is
   * cut. Streams have no end of their own: whoever owns them ends them before or soon after. May be called twice.
   */
  async stop(graceMs: number): Promise<void> {
    const isClosed = new Promise<void>((resolve) => this.#tls.close(() => resolve()))
    // Its callback is of no use: it may come before the calls have ended.
    this.#grpc.tryShutdown(() => {})
    const timer = this.#clock.startTimer(graceMs, () => {
      this.#grpc.forceShutdown()
      for (const socket of this.#sockets) socket.destroy()
    })
    await isClosed
    timer.cancel()
  }

  #onClose(socket: Socket, address: string): void {
    this.#sockets.delete(socket)
    const count = (this.#perAddress.get(address) ?? 1) - 1
    if (count === 0) this.#perAddress.delete(address)
    else this.#perAddress.set(address, count)
  }
}

function secureContext(identity: GrpcServerIdentity): {
  cert: string
  key: string
  ca?: string
  minVersion: 'TLSv1.3'
  secureOptions: number
} {
  const { certificatePem, privateKeyPem, clientRootsPem } = identity
  // SPEC HBONE §0.3: ztunnel speaks TLS 1.3 only; nobody older has to be served.
  const minVersion = 'TLSv1.3' as const
  // No resumption: a resumed session would bring back a client certificate as it was once verified.
  const secureOptions = constants.SSL_OP_NO_TICKET
  const context = { cert: certificatePem, key: privateKeyPem, minVersion, secureOptions }
  return clientRootsPem === undefined ? context : { ...context, ca: clientRootsPem }
}

function createTls(identity: GrpcServerIdentity): TlsServer {
  try {
    return createServer({
      ...secureContext(identity),
      ALPNProtocols: ['h2'],
      handshakeTimeout: TLS_HANDSHAKE_TIMEOUT_MS,
      // A certificate is welcome, not needed: most callers authenticate by token. One that does not verify counts as
      // none (see peerOf in calls.ts).
      requestCert: identity.clientRootsPem !== undefined,
      rejectUnauthorized: false,
    })
  } catch (cause) {
    throw new MeshError('CERT_INVALID', { detail: 'the certificate of the server is unusable', cause })
  }
}

function listen(tls: TlsServer, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (cause: Error): void =>
      reject(new MeshError('SYSTEM_CALL', { detail: `cannot listen on ${host}:${port}`, cause }))
    tls.once('error', onError)
    tls.listen(port, host, () => {
      tls.off('error', onError)
      resolve()
    })
  })
}
