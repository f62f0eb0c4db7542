// SPDX-License-Identifier: Apache-2.0
// Connections to endpoints: through a tunnel to the endpoint's node, with the waypoint's certificate and the identity checked
// that the endpoint must have; or plainly, where it is of no mesh. SPEC wire-protocols §3.8.
import type { ReasonCode } from '../../mesh/errors/reasons.ts'
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { Cancellable } from '../../mesh/hbone/connect-attempt.ts'
import { TunnelPool } from '../../mesh/hbone/tunnel-pool.ts'
import type { RevokedPeers } from '../../mesh/identity/revoked-peers.ts'
import type { WorkerIdentities } from '../../mesh/identity/worker-identities.ts'
import { formatSocketAddress } from '../../mesh/net/address.ts'
import { HBONE_PORT } from '../../mesh/net/mesh-ports.ts'
import type { ByteStream, ByteStreamHandler } from '../../mesh/reactor/byte-stream.ts'
import { AF_INET, AF_INET6, SOCK_STREAM } from '../../mesh/reactor/ffi/constants.ts'
import type { Reactor } from '../../mesh/reactor/reactor.ts'
import { isIpv6 } from '../../mesh/reactor/socket-address.ts'
import { createSocket } from '../../mesh/reactor/socket-options.ts'
import { openSocket, type PendingConnect, startConnect } from '../../mesh/reactor/tcp-connect.ts'
import { TlsSocket } from '../../mesh/reactor/tls-socket.ts'
import type { EndpointView } from '../upstream/cluster-view.ts'
import { CONNECT_TIMEOUT_MS, HANDSHAKE_TIMEOUT_MS } from './limits.ts'

/** Separates the parts of a key; occurs in no address and no SPIFFE id. */
const SEPARATOR = '|'

/** What a failed connect means when it was to a tunnel port: nothing of it is the application's fault. */
const DIAL_REASONS: Readonly<Partial<Record<ReasonCode, ReasonCode>>> = {
  CONNECT_TIMEOUT: 'HBONE_PORT_BLOCKED',
  ENDPOINT_REFUSED: 'HBONE_PORT_REFUSED',
}

export interface EndpointDialerOptions {
  readonly reactor: Reactor
  readonly resources: SessionResources
  readonly identities: WorkerIdentities
  readonly revoked: RevokedPeers
  /** SPIFFE id of the waypoint. */
  readonly identity: string
  readonly baggage: string
}

/** Whoever is called back sets a handler at once. */
const NOBODY: ByteStreamHandler = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} }

type Callback = (result: ByteStream | Refusal) => void

/** One of a worker; owns its tunnels. */
export class EndpointDialer {
  readonly #options: EndpointDialerOptions
  readonly #tunnels: TunnelPool

  constructor(options: EndpointDialerOptions) {
    this.#options = options
    this.#tunnels = new TunnelPool({
      resources: options.resources,
      dial: (key, callback) => this.#dialTunnel(key, callback),
    })
  }

  /** Opens a stream of bytes; `divertedFor`: of a connection that was diverted here, the header that says so; else ''. */
  dial({ ip, port, protocol, identity }: EndpointView, divertedFor: string, callback: Callback): Cancellable {
    if (protocol === 'TCP')
      return this.#connect(ip, port, callback, (fd) =>
        callback(openSocket(this.#options.reactor, fd, NOBODY)),
      )
    const authority = formatSocketAddress(ip, port)
    const { baggage } = this.#options
    return this.#tunnels.connect(
      [ip, identity].join(SEPARATOR),
      { authority, baggage, divertedFor },
      { onConnected: (stream) => callback(stream), onRefused: (refusal) => callback(refusal) },
    )
  }

  get statistics(): TunnelPool['statistics'] {
    return this.#tunnels.statistics
  }

  drain(): void {
    this.#tunnels.drain()
  }

  close(): void {
    this.#tunnels.closeAll({ code: 'SHUTDOWN', detail: '' })
  }

  #dialTunnel(key: string, callback: Callback): Cancellable {
    const [ip = '', expected = ''] = key.split(SEPARATOR)
    const failed = ({ code, detail }: { code: ReasonCode; detail: string }): void =>
      callback(refuse(DIAL_REASONS[code] ?? code, `${ip}: ${detail}`))
    let socket: TlsSocket | null = null
    const connect = this.#connect(ip, HBONE_PORT, failed, (fd) => {
      const { reactor, identities, identity, revoked } = this.#options
      const own = identities.get(identity)
      if (own === undefined) {
        reactor.closeLater(fd)
        failed({ code: 'CERT_UNAVAILABLE', detail: identity })
        return
      }
      socket = new TlsSocket(reactor, fd, {
        ...{ role: 'client', context: own.context, credentials: own.credentials, revoked },
        ...{ handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS, isWatched: true },
        peerCheck: (uris) =>
          uris.includes(expected)
            ? null
            : refuse('IDENTITY_MISMATCH', `expected ${expected}, found ${uris.join(' ') || 'none'}`),
        handler: {
          onSecure: (secure) => {
            socket = null
            callback(secure)
          },
          onHandshakeFailed: (reason) => {
            socket = null
            revoked.onHandshakeFailed(reason, 'source')
            failed(reason)
          },
        },
      })
    })
    return {
      cancel: () => {
        connect.cancel()
        socket?.destroy({ code: 'SHUTDOWN', detail: 'not wanted any more' })
      },
    }
  }

  /** Never calls back from inside the call. */
  #connect(
    ip: string,
    port: number,
    failed: (refusal: Refusal) => void,
    connected: (fd: number) => void,
  ): Cancellable {
    const { reactor } = this.#options
    let pending: PendingConnect | null = null
    let isCancelled = false
    reactor.inNextTurn(() => {
      if (isCancelled) return
      const fd = createSocket(isIpv6(ip) ? AF_INET6 : AF_INET, SOCK_STREAM)
      pending = startConnect(reactor, fd, ip, port, CONNECT_TIMEOUT_MS, {
        onConnected: (open) => {
          pending = null
          connected(open)
        },
        onConnectFailed: ({ code, detail }) => {
          pending = null
          failed(refuse(code, detail))
        },
      })
    })
    return {
      cancel: () => {
        isCancelled = true
        pending?.cancel()
        pending = null
      },
    }
  }
}
