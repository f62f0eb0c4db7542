// SPDX-License-Identifier: Apache-2.0
// Datagrams on the reactor: what DNS stands on. Receiving is bounded per turn and delivered in place; sending never
// waits: what the kernel has no room for is dropped and counted, as the network would. The socket owns its descriptor.

import type { ReasonCode } from '../errors/reasons.ts'
import { formatSocketAddress } from '../net/address.ts'
import { type Block, type CloseReason, HEADROOM_BYTES } from './byte-stream.ts'
import { DatagramMessage } from './datagram-message.ts'
import {
  AF_INET,
  AF_INET6,
  EPOLLERR,
  EPOLLEXCLUSIVE,
  EPOLLIN,
  MSG_ERRQUEUE,
  MSG_NOSIGNAL,
  MSG_TRUNC,
  SOCK_DGRAM,
} from './ffi/constants.ts'
import { bind, close, describeErrno, E, errno, recvmsg, sendmsg } from './ffi/libc.ts'
import type { Reactor, ReadinessHandler } from './reactor.ts'
import { encodeSocketAddress, isIpv6, type SocketAddress } from './socket-address.ts'
import {
  createSocket,
  localAddress,
  setDatagramFacts,
  setIpv6Only,
  setReceiveBuffer,
  systemError,
} from './socket-options.ts'

/** Datagrams taken per turn: the rest waits in the kernel's queue, so that connections are served between. */
export const MAX_DATAGRAMS_PER_TURN = 64
/** The largest payload that IP can carry: longer ones cannot arrive. */
export const MAX_DATAGRAM_BYTES = 65_535

/** Errors of earlier datagrams that one send gets out of its way: a peer can cause one per datagram, not without end. */
const MAX_PENDING_ERRORS = 16

/** The kernel has no room now: asking again at once changes nothing. */
const WITHOUT_ROOM: ReadonlySet<number> = new Set([E.AGAIN, E.NOBUFS, E.NOMEM])

/** True for an errno that says: not now. */
export function hasNoRoom(code: number): boolean {
  return WITHOUT_ROOM.has(code)
}

/** Sockets alive in this thread; for leak tests. */
export const udpSocketCount = { open: 0 }

const REASON_OF_ERRNO: Readonly<Record<number, ReasonCode>> = {
  [E.CONNREFUSED]: 'ENDPOINT_REFUSED',
  [E.NETUNREACH]: 'NETWORK_UNREACHABLE',
  [E.HOSTUNREACH]: 'NETWORK_UNREACHABLE',
}
/** What the errno of a datagram that did not arrive means. */
export function undelivered(code: number): CloseReason {
  return { code: REASON_OF_ERRNO[code] ?? 'CONNECT_FAILED', detail: describeErrno(code) }
}

/** One received datagram; the object and its block are valid during the call only, the addresses for good. */
export interface Datagram {
  readonly block: Block
  readonly start: number
  readonly end: number
  readonly peer: SocketAddress
  /** The address it was sent to: answer from it. */
  readonly local: SocketAddress
  /** It was longer than the socket takes: its end is missing. */
  readonly isTruncated: boolean
}

/** Hears what arrives, always within a reactor turn, never from inside a call of the owner's, never after close(). */
export interface DatagramHandler {
  onDatagram(datagram: Datagram): void
  /** The network says that an earlier datagram to `peer` did not arrive. The socket goes on. */
  onUndelivered(reason: CloseReason, peer: SocketAddress): void
}

/** `sent` = the kernel has it; `dropped` = no room now (counted); `failed` = never will go: see lastFailure. */
export type SendOutcome = 'sent' | 'dropped' | 'failed'

/** What a datagram socket needs beside its address. */
export interface DatagramOptions {
  /** Room for bursts in the kernel; its default otherwise. */
  readonly receiveBufferBytes?: number
  /** Runs between socket() and bind(): marks, transparency (setMark, setTransparent). */
  readonly prepare?: (fd: number, family: number) => void
}

class MutableDatagram implements Datagram {
  readonly block: Block
  readonly start = HEADROOM_BYTES
  end = HEADROOM_BYTES
  peer: SocketAddress = { ip: '', port: 0 }
  local: SocketAddress = { ip: '', port: 0 }
  isTruncated = false
  constructor(block: Block) {
    this.block = block
  }
}

const incoming = new DatagramMessage()
const outgoing = new DatagramMessage()

/** A bound datagram socket. */
export class UdpSocket implements ReadinessHandler {
  readonly fd: number
  /** Datagrams the kernel had no room for. */
  droppedCount = 0
  /** Why the last send failed. */
  lastFailure: CloseReason | null = null
  readonly #reactor: Reactor
  readonly #handler: DatagramHandler
  readonly #datagram: MutableDatagram
  readonly #maxBytes: number
  readonly #isIpv6: boolean
  readonly #isShared: boolean
  /** Bound to one address, it sends from and receives at no other. */
  readonly #isWildcard: boolean
  #local: SocketAddress
  #isOpen = true

  /**
   * Takes over `fd` of openDatagramSocket; `isShared`: it belongs to somebody else and other threads receive from it too.
   * Datagrams longer than `maxBytes` arrive truncated, and say so.
   */
  constructor(
    reactor: Reactor,
    fd: number,
    handler: DatagramHandler,
    maxBytes = MAX_DATAGRAM_BYTES,
    isShared = false,
  ) {
    this.#reactor = reactor
    this.fd = fd
    this.#handler = handler
    this.#datagram = new MutableDatagram(reactor.readBlock)
    this.#isShared = isShared
    this.#maxBytes = Math.min(maxBytes, MAX_DATAGRAM_BYTES)
    const local = localAddress(fd)
    if (local === null) throw systemError('getsockname')
    this.#local = local
    this.#isIpv6 = isIpv6(local.ip)
    this.#isWildcard = local.ip === '::' || local.ip === '0.0.0.0'
    this.#datagram.local = local
    reactor.watch(fd, isShared ? EPOLLIN | EPOLLEXCLUSIVE : EPOLLIN, this, isShared)
    udpSocketCount.open++
  }

  /** Our address; the port is real also when it was asked for as 0. */
  get local(): SocketAddress {
    return this.#local
  }

  /**
   * Sends one datagram. `source` is our address of an answer (Datagram.local), so that it comes from where the question
   * went; its port is always the socket's. null lets the kernel choose.
   */
  send(
    block: Block,
    start: number,
    end: number,
    peer: SocketAddress,
    source: SocketAddress | null = null,
  ): SendOutcome {
    if (!this.#isOpen) return 'dropped'
    const from = this.#isWildcard ? source : null
    outgoing.prepareSend(block.address + start, end - start, peer, from, this.#isIpv6)
    let code = this.#sendOnce()
    // SPEC ip(7) IP_RECVERR: a call may report what became of an earlier datagram instead of sending this one. Such news
    // comes at any time, also from what others send by a shared socket; only this datagram's own failure is there each time.
    for (let i = 0; i < MAX_PENDING_ERRORS && code !== 0 && !WITHOUT_ROOM.has(code); i++)
      code = this.#sendOnce()
    if (code === 0) return 'sent'
    if (WITHOUT_ROOM.has(code) || code === E.INTR) {
      this.droppedCount++
      return 'dropped'
    }
    this.lastFailure = undelivered(code)
    return 'failed'
  }

  #sendOnce(): number {
    return sendmsg(this.fd, outgoing.address, MSG_NOSIGNAL) >= 0 ? 0 : errno()
  }

  onReady(events: number): void {
    if ((events & EPOLLERR) !== 0) this.#receiveErrors()
    this.#receiveDatagrams()
  }

  #receiveDatagrams(): void {
    const datagram = this.#datagram
    const pointer = datagram.block.address + HEADROOM_BYTES
    for (let i = 0; i < MAX_DATAGRAMS_PER_TURN && this.#isOpen; i++) {
      incoming.prepareReceive(pointer, this.#maxBytes)
      const count = recvmsg(this.fd, incoming.address, 0)
      if (count < 0) {
        const code = errno()
        if (code === E.AGAIN || code === E.NOMEM || code === E.NOBUFS) return
        continue // a pending error of an earlier send: taken by this call, told by the error queue
      }
      const peer = incoming.peer()
      if (peer === null) continue
      datagram.end = HEADROOM_BYTES + count
      datagram.isTruncated = (incoming.flags & MSG_TRUNC) !== 0
      datagram.peer = peer
      if (this.#isWildcard) datagram.local = this.#localOf(incoming.destinationIp())
      this.#handler.onDatagram(datagram)
    }
  }

  /** One object as long as the address stays the same. */
  #localOf(ip: string): SocketAddress {
    if (ip !== this.#datagram.local.ip) {
      this.#datagram.local = { ip: ip === '' ? this.#local.ip : ip, port: this.#local.port }
    }
    return this.#datagram.local
  }

  #receiveErrors(): void {
    for (let i = 0; i < MAX_DATAGRAMS_PER_TURN && this.#isOpen; i++) {
      incoming.prepareReceive(this.#datagram.block.address + HEADROOM_BYTES, 0)
      if (recvmsg(this.fd, incoming.address, MSG_ERRQUEUE) < 0) return
      const code = incoming.extendedError()
      const peer = incoming.peer()
      if (code !== 0 && peer !== null) this.#handler.onUndelivered(undelivered(code), peer)
    }
  }

  /** Nothing is received any more; sending goes on. */
  stopReceiving(): void {
    if (this.#isOpen) this.#reactor.unwatch(this.fd)
  }

  /** Closes at the end of the turn, unless it is shared; no callback follows. Idempotent. */
  close(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    if (this.#isShared) this.#reactor.unwatch(this.fd)
    else this.#reactor.closeLater(this.fd)
    udpSocketCount.open--
  }
}

/**
 * Opens and binds a datagram socket in the thread's current namespace (NetworkNamespace.run); '::' is dual-stack.
 * @throws OUT_OF_DESCRIPTORS, MISSING_CAPABILITY, SYSTEM_CALL (address in use)
 */
export function openDatagramSocket(ip: string, port: number, options: DatagramOptions = {}): number {
  const family = isIpv6(ip) ? AF_INET6 : AF_INET
  const fd = createSocket(family, SOCK_DGRAM)
  try {
    if (family === AF_INET6) setIpv6Only(fd, ip !== '::')
    setDatagramFacts(fd, family)
    if (options.receiveBufferBytes !== undefined) setReceiveBuffer(fd, options.receiveBufferBytes)
    options.prepare?.(fd, family)
    const address = encodeSocketAddress(ip, port)
    if (bind(fd, address.address, address.bytes) !== 0)
      throw systemError(`bind ${formatSocketAddress(ip, port)} udp`)
    return fd
  } catch (error) {
    close(fd)
    throw error
  }
}
