// SPDX-License-Identifier: Apache-2.0
// Port 15080 of a pod: SOCKS5 for applications that cannot be redirected (RFC 1928: no authentication, CONNECT).
// Input is the pod's own, but may be anything: bounded, and refused in the protocol's terms.
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { parseIp } from '../../mesh/net/address.ts'
import type { Block, ByteStream, ByteStreamHandler, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import type { Timer } from '../../mesh/reactor/scheduler.ts'
import { decodeSocketAddress, type SocketAddress } from '../../mesh/reactor/socket-address.ts'
import { peerAddress } from '../../mesh/reactor/socket-options.ts'
import { TcpSocket } from '../../mesh/reactor/tcp-socket.ts'
import type { Downstream } from '../carry/downstream.ts'
import { OutboundConnection } from '../carry/outbound-connection.ts'
import type { ServedPod } from '../carry/served-pod.ts'
import { ConnectionFacts } from '../carry/worker-context.ts'

/** Greeting (≤ 257 bytes) and request (≤ 262). */
const MAX_REQUEST_BYTES = 520
/** A client that does not finish its request in this time is cut off. */
const REQUEST_DEADLINE_MS = 5000
const VERSION = 5
/** SPEC RFC1928 §6: reply codes. */
const REPLY = { ok: 0, failure: 1, denied: 2, unreachable: 4, refused: 5, command: 7, address: 8 } as const

/** What a client asks for. */
export interface SocksRequest {
  readonly kind: 'request'
  readonly host: string
  readonly port: number
  /** Bytes used up. */
  readonly length: number
}

/** Reads the request that follows the greeting; 'more' when it is incomplete. Pure. */
export function parseSocksRequest(bytes: Buffer): SocksRequest | Refusal | 'more' {
  if (bytes.length < 5) return 'more'
  if (bytes[0] !== VERSION) return refuse('SOCKS_PROTOCOL', `version ${bytes[0]}`)
  if (bytes[1] !== 1) return refuse('SOCKS_PROTOCOL', `command ${bytes[1]}`)
  const type = bytes[3]
  const hostLength = type === 1 ? 4 : type === 4 ? 16 : type === 3 ? 1 + (bytes[4] ?? 0) : -1
  if (hostLength < 0) return refuse('SOCKS_PROTOCOL', `address type ${type}`)
  const length = 4 + hostLength + 2
  if (bytes.length < length) return 'more'
  const port = bytes.readUInt16BE(length - 2)
  if (type === 3) {
    const host = bytes.toString('latin1', 5, 4 + hostLength).toLowerCase()
    if (!/^[a-z0-9._:-]{1,255}$/.test(host)) return refuse('SOCKS_PROTOCOL', 'host name')
    return { kind: 'request', host: parseIp(host) ?? host, port, length }
  }
  const sockaddr = Buffer.alloc(28)
  sockaddr.writeUInt16LE(type === 1 ? 2 : 10, 0)
  bytes.copy(sockaddr, type === 1 ? 4 : 8, 4, 4 + hostLength)
  const host = decodeSocketAddress(sockaddr)?.ip ?? ''
  return { kind: 'request', host, port, length }
}

function replyCode({ code }: Refusal): number {
  if (code.startsWith('POLICY') || code === 'LOOP') return REPLY.denied
  if (code === 'ENDPOINT_REFUSED' || code === 'HBONE_PORT_REFUSED') return REPLY.refused
  if (code === 'HOSTNAME_UNKNOWN' || code === 'NETWORK_UNREACHABLE' || code === 'NO_ENDPOINT')
    return REPLY.unreachable
  return code === 'SOCKS_PROTOCOL' ? REPLY.command : REPLY.failure
}

/** greeting → request → resolving (host names) → handed over to an OutboundConnection. */
class SocksClient implements ByteStreamHandler, Downstream {
  readonly hasEnded = false // the socket is paused from the request on
  readonly #pod: ServedPod
  readonly #socket: TcpSocket
  readonly #client: SocketAddress
  readonly #deadline: Timer
  #bytes = Buffer.alloc(0)
  #isGreeted = false
  #isDone = false
  /** The request is read, the address of its host is not known yet. */
  #isResolving = false
  #port = 0
  #connection: OutboundConnection | null = null

  constructor(pod: ServedPod, fd: number) {
    this.#pod = pod
    this.#client = peerAddress(fd) ?? { ip: '0.0.0.0', port: 0 }
    this.#socket = new TcpSocket(pod.context.reactor, fd, this, false, pod.share)
    this.#deadline = pod.context.reactor.startTimer(REQUEST_DEADLINE_MS, () =>
      this.#refuseEarly(refuse('SOCKS_PROTOCOL', 'no request in time')),
    )
  }

  onData(block: Block, start: number, end: number): void {
    if (this.#isDone) return
    this.#bytes = Buffer.concat([this.#bytes, block.bytes.subarray(start, end)])
    if (this.#bytes.length > MAX_REQUEST_BYTES) this.#refuseEarly(refuse('SOCKS_PROTOCOL', 'too long'))
    else if (this.#isGreeted || this.#greet()) this.#readRequest()
  }

  #greet(): boolean {
    const methods = this.#bytes[1] ?? 0
    if (this.#bytes.length < 2 || this.#bytes.length < 2 + methods) return false
    const hasNoAuth = this.#bytes.subarray(2, 2 + methods).includes(0)
    if (this.#bytes[0] !== VERSION || !hasNoAuth) {
      this.#send([VERSION, 0xff])
      this.#refuseEarly(refuse('SOCKS_PROTOCOL', 'greeting'))
      return false
    }
    this.#bytes = this.#bytes.subarray(2 + methods)
    this.#send([VERSION, 0])
    this.#isGreeted = true
    return true
  }

  #readRequest(): void {
    const request = parseSocksRequest(this.#bytes)
    if (request === 'more') return
    if (request.kind === 'refusal') {
      this.refuse(request)
      this.#record(request)
      return
    }
    if (this.#bytes.length > request.length) {
      this.#refuseEarly(refuse('SOCKS_PROTOCOL', 'bytes before the reply'))
      return
    }
    this.#isDone = true
    this.#deadline.cancel()
    this.#socket.pause()
    this.#port = request.port
    this.#isResolving = true
    if (parseIp(request.host) !== undefined) this.connect(request.host)
    else this.#pod.hosts.request(request.host, this)
  }

  /** The host name's address is known; null: there is no such name. */
  connect(ip: string | null): void {
    if (!this.#isResolving) return // the client left meanwhile: nobody would ever end what is begun for it
    this.#isResolving = false
    if (ip === null) {
      const refusal = refuse('HOSTNAME_UNKNOWN')
      this.refuse(refusal)
      this.#record(refusal)
      return
    }
    this.#connection = new OutboundConnection(this.#pod, this, this.#client, { ip, port: this.#port })
    this.#connection.start()
  }

  accept(): ByteStream {
    this.#send([VERSION, REPLY.ok, 0, 1, 0, 0, 0, 0, 0, 0])
    this.#socket.resume()
    return this.#socket
  }

  refuse(refusal: Refusal): void {
    this.#isDone = true
    this.#deadline.cancel()
    this.#send([VERSION, replyCode(refusal), 0, 1, 0, 0, 0, 0, 0, 0])
    this.#socket.resume()
    this.#socket.end()
    this.#pod.context.reactor.startTimer(REQUEST_DEADLINE_MS, () => this.#socket.destroy(refusal))
  }

  onEnd(): void {
    if (this.#isDone) this.#socket.end()
    else this.#refuseEarly(refuse('SOCKS_PROTOCOL', 'the client left'))
  }
  onDrain(): void {}
  onClose(reason: CloseReason): void {
    if (!this.#isDone) this.#refuseEarly(refuse('SOCKS_PROTOCOL', reason.detail))
    else if (this.#isResolving) {
      this.#isResolving = false
      this.#record(refuse(reason.code, reason.detail))
    } else this.#connection?.abort(reason)
  }

  /** Refused before anybody was to be connected: the record is ours to write. */
  #refuseEarly(refusal: Refusal): void {
    if (this.#isDone) return
    this.#isDone = true
    this.#deadline.cancel()
    this.#socket.destroy(refusal)
    this.#record(refusal)
  }

  #record(refusal: Refusal): void {
    const { context } = this.#pod
    const facts = new ConnectionFacts('outbound', this.#pod, context.reactor.nowMs, this.#client)
    facts.source = this.#pod.source?.workload ?? null
    context.closed(facts, refusal, 0, 0)
    context.share.released('stream')
  }

  #send(bytes: readonly number[]): void {
    const block = allocateBlock(bytes.length)
    block.bytes.set(bytes)
    this.#socket.write(block, 0, bytes.length)
  }
}

/** Takes one accepted connection. */
export function acceptSocks5(pod: ServedPod, fd: number): void {
  new SocksClient(pod, fd)
}
