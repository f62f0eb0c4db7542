// SPDX-License-Identifier: Apache-2.0
// Opens and ends many connections on one reactor, both sides of each, in every way a connection can end. Used by the
// soak test and its short form: afterwards nothing may be left of any of them.
import type { Block, ByteStream, ByteStreamHandler, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { AF_INET, SOCK_STREAM } from '../../mesh/reactor/ffi/constants.ts'
import { bind } from '../../mesh/reactor/ffi/libc.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import type { Reactor } from '../../mesh/reactor/reactor.ts'
import { encodeSocketAddress } from '../../mesh/reactor/socket-address.ts'
import {
  createSocket,
  localAddress,
  setBindWithoutPort,
  systemError,
} from '../../mesh/reactor/socket-options.ts'
import { openSocket, startConnect } from '../../mesh/reactor/tcp-connect.ts'
import { openListener, TcpListener } from '../../mesh/reactor/tcp-listener.ts'
import { TcpSocket } from '../../mesh/reactor/tcp-socket.ts'
import { TlsContext, TlsCredentials } from '../../mesh/reactor/tls-context.ts'
import { TlsSocket } from '../../mesh/reactor/tls-socket.ts'

/** How a connection ends; the client says it in the first byte of its request. */
export const ENDINGS = [
  'client-ends',
  'server-ends',
  'client-resets',
  'server-resets',
  'client-leaves-at-once',
  'nobody-listens',
] as const
type Ending = number
const [CLIENT_ENDS, SERVER_ENDS, CLIENT_RESETS, SERVER_RESETS, LEAVES_AT_ONCE, NOBODY_LISTENS] = [
  0, 1, 2, 3, 4, 5,
]
const REQUEST_BYTES = 1024
const TIMEOUT_MS = 10_000
const RESET: CloseReason = { code: 'SHUTDOWN', detail: 'churn' }

/** What is churned with. */
export interface ChurnSetup {
  readonly certificatePem: string
  readonly privateKeyPem: string
  readonly rootPem: string
  /** Second number of the clients' 127.x addresses: many, so that TIME_WAIT uses up no ports. */
  readonly sourceNet: number
  /** Connections open at once. */
  readonly concurrency: number
  /** Every so many connections one is TLS. */
  readonly tlsEvery: number
}

/** How connections ended on the client's side, by close reason. */
export type ChurnTotals = Record<string, number>

/** The server's side of one connection: answers a request, or ends as it is told. */
class ServerSide implements ByteStreamHandler {
  readonly #churn: Churn
  readonly #stream: ByteStream
  #seen = 0
  #ending: Ending = CLIENT_ENDS
  constructor(churn: Churn, stream: ByteStream) {
    this.#churn = churn
    this.#stream = stream
    churn.serverCount++
  }
  onData(block: Block, start: number, end: number): void {
    if (this.#seen === 0) this.#ending = block.bytes[start] ?? 0
    this.#seen += end - start
    if (this.#ending === SERVER_RESETS) {
      this.#stream.destroy(RESET)
      return
    }
    this.#stream.write(block, start, end)
    if (this.#seen >= REQUEST_BYTES && this.#ending === SERVER_ENDS) this.#stream.end()
  }
  onEnd(): void {
    this.#stream.end()
  }
  onDrain(): void {}
  onClose(): void {
    this.#churn.serverCount--
    this.#churn.onSideClosed()
  }
}

/** The client's side. */
class ClientSide implements ByteStreamHandler {
  readonly #churn: Churn
  readonly #stream: ByteStream
  readonly #ending: Ending
  #seen = 0
  constructor(churn: Churn, stream: ByteStream, ending: Ending) {
    this.#churn = churn
    this.#stream = stream
    this.#ending = ending
  }
  start(): void {
    if (this.#ending === LEAVES_AT_ONCE) this.#stream.destroy(RESET)
    else this.#stream.write(this.#churn.requestOf(this.#ending), 16, 16 + REQUEST_BYTES)
  }
  onData(_block: Block, start: number, end: number): void {
    this.#seen += end - start
    if (this.#seen < REQUEST_BYTES) return
    if (this.#ending === CLIENT_ENDS) this.#stream.end()
    else if (this.#ending === CLIENT_RESETS) this.#stream.destroy(RESET)
  }
  onEnd(): void {
    this.#stream.end()
  }
  onDrain(): void {}
  onClose(reason: CloseReason): void {
    this.#churn.onClientClosed(`${ENDINGS[this.#ending]} ${reason.code}`)
  }
}

/** A server and its clients on one reactor. */
export class Churn {
  serverCount = 0
  readonly #reactor: Reactor
  readonly #setup: ChurnSetup
  readonly #context: TlsContext
  readonly #credentials: TlsCredentials
  readonly #plain: TcpListener
  readonly #tls: TcpListener
  readonly #plainPort: number
  readonly #tlsPort: number
  readonly #request = allocateBlock(16 + REQUEST_BYTES)
  #totals: ChurnTotals = {}
  #started = 0
  #open = 0
  #left = 0
  #onDone: (totals: ChurnTotals) => void = () => {}

  constructor(reactor: Reactor, setup: ChurnSetup) {
    this.#reactor = reactor
    this.#setup = setup
    this.#context = new TlsContext([setup.rootPem])
    this.#credentials = new TlsCredentials([setup.certificatePem], setup.privateKeyPem)
    const [plainFd, tlsFd] = [openListener('127.0.0.1', 0), openListener('127.0.0.1', 0)]
    this.#plainPort = localAddress(plainFd)?.port ?? 0
    this.#tlsPort = localAddress(tlsFd)?.port ?? 0
    const listen = (fd: number, onAccept: (fd: number) => void): TcpListener =>
      new TcpListener(reactor, fd, { onAccept, onAcceptRefused: (error) => this.#count(error.code) }, false)
    this.#plain = listen(plainFd, (fd) => this.#serve(fd))
    this.#tls = listen(tlsFd, (fd) => this.#serveTls(fd))
  }

  /** Opens `count` connections and calls back when all their sides are closed. One run at a time. */
  run(count: number, onDone: (totals: ChurnTotals) => void): void {
    this.#totals = {}
    this.#left = count
    this.#onDone = onDone
    while (this.#left > 0 && this.#open < this.#setup.concurrency) this.#connect()
  }

  requestOf(ending: Ending): Block {
    this.#request.bytes[16] = ending
    return this.#request
  }

  onClientClosed(outcome: string): void {
    this.#count(outcome)
    this.#open--
    if (this.#left > 0) this.#connect()
    this.onSideClosed()
  }

  onSideClosed(): void {
    if (this.#left > 0 || this.#open > 0 || this.serverCount > 0) return
    // A server's side that was accepted but not served yet is closed within the next turns: ask again then.
    const onDone = this.#onDone
    this.#onDone = () => {}
    const totals = this.#totals
    this.#reactor.startTimer(50, () => {
      this.#onDone = onDone
      if (this.serverCount > 0) return
      this.#onDone = () => {}
      onDone(totals)
    })
  }

  /** Frees everything; the reactor is destroyed by its owner. */
  close(): void {
    this.#plain.close()
    this.#tls.close()
    this.#context.free()
    this.#credentials.release()
  }

  #count(outcome: string): void {
    this.#totals[outcome] = (this.#totals[outcome] ?? 0) + 1
  }

  #connect(): void {
    const number = this.#started++
    this.#left--
    this.#open++
    const ending = Math.floor(number / this.#setup.tlsEvery) % ENDINGS.length
    const isTls = number % this.#setup.tlsEvery === 0
    const port = ending === NOBODY_LISTENS ? 1 : isTls ? this.#tlsPort : this.#plainPort
    const fd = createSocket(AF_INET, SOCK_STREAM)
    setBindWithoutPort(fd)
    const source = `127.${this.#setup.sourceNet}.${(number >> 6) % 250}.${1 + (number % 64)}`
    const address = encodeSocketAddress(source, 0)
    if (bind(fd, address.address, address.bytes) !== 0) throw systemError('bind')
    startConnect(this.#reactor, fd, '127.0.0.1', port, TIMEOUT_MS, {
      onConnected: (connected) =>
        isTls ? this.#startTls(connected, ending) : this.#startPlain(connected, ending),
      onConnectFailed: (reason) => this.onClientClosed(`${ENDINGS[ending]} ${reason.code}`),
    })
  }

  #startPlain(fd: number, ending: Ending): void {
    const stream = openSocket(this.#reactor, fd, NOTHING)
    const side = new ClientSide(this, stream, ending)
    stream.setHandler(side)
    side.start()
  }

  #startTls(fd: number, ending: Ending): void {
    const socket = this.#secure(
      fd,
      'client',
      (stream) => {
        const side = new ClientSide(this, stream, ending)
        stream.setHandler(side)
        side.start()
      },
      (reason) => this.onClientClosed(`${ENDINGS[ending]} ${reason.code}`),
    )
    if (ending === LEAVES_AT_ONCE) socket.destroy(RESET) // in the middle of the handshake
  }

  #serve(fd: number): void {
    const stream = new TcpSocket(this.#reactor, fd, NOTHING)
    stream.setHandler(new ServerSide(this, stream))
  }

  #serveTls(fd: number): void {
    this.serverCount++
    this.#secure(
      fd,
      'server',
      (stream) => {
        stream.setHandler(new ServerSide(this, stream))
        this.serverCount--
      },
      () => {
        this.serverCount--
        this.onSideClosed()
      },
    )
  }

  #secure(
    fd: number,
    role: 'client' | 'server',
    onSecure: (socket: TlsSocket) => void,
    onHandshakeFailed: (reason: CloseReason) => void,
  ): TlsSocket {
    return new TlsSocket(this.#reactor, fd, {
      role,
      context: this.#context,
      credentials: this.#credentials,
      peerCheck: () => null,
      handshakeTimeoutMs: TIMEOUT_MS,
      isWatched: role === 'client',
      handler: { onSecure, onHandshakeFailed },
    })
  }
}

const NOTHING: ByteStreamHandler = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} }
