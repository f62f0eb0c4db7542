// SPDX-License-Identifier: Apache-2.0
// Stands in for a waypoint: takes tunnels on port 15008 of its namespace, believes a diverted connection's caller only
// from who is behind it, refuses whom it is told to, and goes on to the pod as itself. One reactor, no pool of pods.
// Started by WaypointProcess; ends when its standard input does.
import { writeSync } from 'node:fs'
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { SessionResources } from '../../mesh/h2/session-resources.ts'
import { type Diversion, parseDivertedFor } from '../../mesh/hbone/diversion.ts'
import { TunnelPool } from '../../mesh/hbone/tunnel-pool.ts'
import {
  type InboundConnect,
  TunnelServer,
  type TunnelServerHandler,
} from '../../mesh/hbone/tunnel-server.ts'
import { formatSpiffeId } from '../../mesh/identity/spiffe.ts'
import type { ByteStream, ByteStreamHandler } from '../../mesh/reactor/byte-stream.ts'
import { AF_INET, EPOLLIN, SOCK_STREAM } from '../../mesh/reactor/ffi/constants.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import { Reactor } from '../../mesh/reactor/reactor.ts'
import { Relay } from '../../mesh/reactor/relay.ts'
import { createSocket } from '../../mesh/reactor/socket-options.ts'
import { startConnect } from '../../mesh/reactor/tcp-connect.ts'
import { openListener, TcpListener } from '../../mesh/reactor/tcp-listener.ts'
import { TlsContext, TlsCredentials } from '../../mesh/reactor/tls-context.ts'
import type { TlsOptions } from '../../mesh/reactor/tls-options.ts'
import { TlsSocket } from '../../mesh/reactor/tls-socket.ts'
import type { TestCertificate } from './certificates.ts'

/** What it is started with. */
export interface StandInOptions {
  readonly ip: string
  readonly server: TestCertificate
  /** As whom it goes on. */
  readonly client: TestCertificate
  readonly rootPem: string
  /** Addresses of services → of pods. All others are pods' own. */
  readonly routes: Readonly<Record<string, string>>
  /** Address of a pod without port → who it is. */
  readonly behind: Readonly<Record<string, string>>
  /** Identities it lets nobody through for; '' is plain text. */
  readonly denied: readonly string[]
}

/** One line of its output: a CONNECT, or that it serves. */
export interface StandInRecord {
  readonly authority: string
  readonly peer: string
  readonly header: string
  /** Whom it takes for the caller; '' in plain text, null when it refuses to say. */
  readonly caller: string | null
  readonly baggage: string
  readonly forwarded: string
  readonly answer: string
}

const HBONE_PORT = 15_008
const TIMEOUT_MS = 5_000

function tell(line: StandInRecord | 'up'): void {
  writeSync(1, `${JSON.stringify(line)}\n`)
}

class StandIn {
  readonly reactor = new Reactor()
  readonly #options: StandInOptions
  readonly #resources = new SessionResources({ scheduler: this.reactor, allocateBlock })
  readonly #context: TlsContext
  readonly #server: TlsCredentials
  readonly #client: TlsCredentials
  readonly #pool: TunnelPool

  constructor(options: StandInOptions) {
    this.#options = options
    const credentials = (each: TestCertificate): TlsCredentials =>
      new TlsCredentials([each.certificatePem], each.privateKeyPem)
    this.#context = new TlsContext([options.rootPem])
    this.#server = credentials(options.server)
    this.#client = credentials(options.client)
    this.#pool = new TunnelPool({
      resources: this.#resources,
      dial: (ip, callback) => {
        this.#dial(ip, callback)
        return { cancel() {} } // a test does not end in the middle of a dial
      },
    })
  }

  listen(): void {
    const handler = { onAccept: (fd: number) => this.#accept(fd), onAcceptRefused() {} }
    new TcpListener(this.reactor, openListener(this.#options.ip, HBONE_PORT), handler, false)
  }

  #tls(
    role: TlsOptions['role'],
    fd: number,
    credentials: TlsCredentials,
    handler: TlsOptions['handler'],
  ): void {
    new TlsSocket(this.reactor, fd, {
      ...{ role, context: this.#context, credentials, handler, isWatched: role === 'client' },
      ...{ peerCheck: () => null, handshakeTimeoutMs: TIMEOUT_MS },
    })
  }

  #accept(fd: number): void {
    this.reactor.descriptors.add(fd)
    this.#tls('server', fd, this.#server, {
      onHandshakeFailed() {},
      onSecure: (transport, { uris }) => {
        const handler: TunnelServerHandler = {
          onConnect: (connect) => this.#onConnect(connect, uris[0] ?? ''),
          onMalformed() {},
          onClosed() {},
        }
        new TunnelServer({ transport, resources: this.#resources, handler })
      },
    })
  }

  #dial(ip: string, callback: (result: ByteStream | Refusal) => void): void {
    const failed = ({ code, detail }: { code: Refusal['code']; detail: string }): void =>
      callback(refuse(code, detail))
    startConnect(this.reactor, createSocket(AF_INET, SOCK_STREAM), ip, HBONE_PORT, TIMEOUT_MS, {
      onConnectFailed: failed,
      onConnected: (fd) =>
        this.#tls('client', fd, this.#client, {
          onHandshakeFailed: failed,
          onSecure: (socket) => callback(socket),
        }),
    })
  }

  /** Who calls; refused when somebody states a caller who may not. */
  #callerOf(peer: string, pod: string, diversion: Diversion | Refusal | null): string | Refusal {
    if (isRefusal(diversion)) return diversion
    if (diversion === null) return peer
    if (this.#options.behind[pod] !== peer)
      return refuse('POLICY_DENY', `${peer} speaks for nobody of ${pod}`)
    return diversion.caller === null ? '' : formatSpiffeId(diversion.caller)
  }

  #onConnect(connect: InboundConnect, peer: string): void {
    const { authority, divertedFor: header, baggage, forwarded } = connect
    const target = this.#options.routes[authority] ?? authority
    const ip = target.slice(0, target.lastIndexOf(':'))
    const caller = this.#callerOf(peer, ip, parseDivertedFor(header))
    const near = new Waiting(connect)
    const record = { authority, peer, header, baggage, forwarded, caller: isRefusal(caller) ? null : caller }
    const isDenied = isRefusal(caller) || this.#options.denied.includes(caller)
    if (isDenied) {
      const refusal = isRefusal(caller) ? caller : refuse('POLICY_DENY', caller)
      tell({ ...record, answer: refusal.code })
      connect.refuse(refusal)
      return
    }
    // The header goes on: whoever gets the connection knows that it was here.
    const request = { authority: target, divertedFor: header, baggage }
    near.attempt = this.#pool.connect(ip, request, {
      onConnected: (far) => {
        tell({ ...record, answer: 'OK' })
        near.join(far)
      },
      onRefused: (refusal) => {
        tell({ ...record, answer: refusal.code })
        connect.refuse(refusal)
      },
    })
  }
}

/** A CONNECT that waits for the pod. */
class Waiting implements ByteStreamHandler {
  readonly #connect: InboundConnect
  attempt: { cancel(): void } | null = null
  #hasEnded = false

  constructor(connect: InboundConnect) {
    this.#connect = connect
    connect.stream.setHandler(this)
    connect.stream.pause()
  }
  join(far: ByteStream): void {
    this.attempt = null
    this.#connect.accept('')
    this.#connect.stream.resume()
    new Relay(this.#connect.stream, far, { onFirstByte() {}, onRelayClosed() {} })
    if (this.#hasEnded) far.end()
  }
  onData(): void {}
  onDrain(): void {}
  onEnd(): void {
    this.#hasEnded = true
  }
  onClose(): void {
    this.attempt?.cancel()
  }
}

const standIn = new StandIn(JSON.parse(process.argv[2] ?? '') as StandInOptions) // as: WaypointProcess wrote it
standIn.reactor.watch(0, EPOLLIN, { onReady: () => standIn.reactor.stop() }, true)
standIn.listen()
tell('up')
standIn.reactor.run()
