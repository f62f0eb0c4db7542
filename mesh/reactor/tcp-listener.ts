// SPDX-License-Identifier: Apache-2.0
// Accepting. The listening socket may be shared with other workers (the supervisor owns it): EPOLLEXCLUSIVE wakes
// one of them per connection. Running out of descriptors must neither spin nor leave the peer waiting.

import type { MeshError } from '../errors/mesh-error.ts'
import { formatSocketAddress } from '../net/address.ts'
import type { Block } from './byte-stream.ts'
import {
  AF_INET,
  AF_INET6,
  EPOLLEXCLUSIVE,
  EPOLLIN,
  O_CLOEXEC,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
} from './ffi/constants.ts'
import { accept4, bind, close, E, errno, listen, open } from './ffi/libc.ts'
import { allocateBlock } from './ffi/native.ts'
import type { Reactor, ReadinessHandler } from './reactor.ts'
import type { Timer } from './scheduler.ts'
import {
  decodeSocketAddress,
  encodeSocketAddress,
  SOCKADDR_BYTES,
  type SocketAddress,
} from './socket-address.ts'
import {
  createSocket,
  setIpv6Only,
  setNoDelay,
  setResetOnClose,
  setReuseAddress,
  systemError,
} from './socket-options.ts'

/** Connections taken per turn: the rest waits in the kernel's queue, so that established ones are served between. */
const MAX_ACCEPTS_PER_TURN = 64
/** Pause when the kernel can give us nothing: long enough not to burn the CPU, short enough for a waiting client. */
const ACCEPT_RETRY_MS = 100
/** Waiting connects per listening socket. */
export const LISTEN_BACKLOG = 1024

/** Hears of new connections. */
export interface AcceptHandler {
  /** `fd` is connected, non-blocking, unwatched, and the callee's to close. */
  onAccept(fd: number, peer: SocketAddress): void
  /** A connection was turned away for want of descriptors. */
  onAcceptRefused(error: MeshError): void
}

// SPEC accept(2): errors of the new connection itself arrive here and are gone with it: the next may be fine.
const PASSING_ERRORS: ReadonlySet<number> = new Set([
  E.INTR,
  E.CONNABORTED,
  E.PROTO,
  E.NETDOWN,
  E.NETUNREACH,
  E.HOSTUNREACH,
  E.OPNOTSUPP,
  E.PERM, // a firewall rule forbids this one
])

const peerAddress: Block = allocateBlock(SOCKADDR_BYTES)
const peerLength: Block = allocateBlock(4)

/** A listening socket in this reactor. */
export class TcpListener implements ReadinessHandler {
  readonly fd: number
  readonly #reactor: Reactor
  readonly #handler: AcceptHandler
  readonly #isShared: boolean
  #reserve = -1
  #retry: Timer | null = null
  #isClosed = false

  /** `isShared`: the descriptor belongs to somebody else and is never closed here. */
  constructor(reactor: Reactor, fd: number, handler: AcceptHandler, isShared: boolean) {
    this.#reactor = reactor
    this.fd = fd
    this.#handler = handler
    this.#isShared = isShared
    this.#openReserve()
    this.#watch()
  }

  onReady(): void {
    this.#accept(MAX_ACCEPTS_PER_TURN)
  }

  #accept(most: number): void {
    for (let i = 0; i < most && !this.#isClosed; i++) {
      peerLength.bytes.writeUInt32LE(SOCKADDR_BYTES, 0)
      const fd = accept4(this.fd, peerAddress.address, peerLength.address, SOCK_NONBLOCK | SOCK_CLOEXEC)
      if (fd >= 0) {
        setNoDelay(fd)
        this.#handler.onAccept(fd, decodeSocketAddress(peerAddress.bytes) ?? { ip: '0.0.0.0', port: 0 })
        continue
      }
      const code = errno()
      if (PASSING_ERRORS.has(code)) continue
      if (code === E.MFILE || code === E.NFILE) this.#turnAway(code)
      else if (code !== E.AGAIN) this.#pause() // ENOBUFS, ENOMEM: still readable, so asking again would spin
      return
    }
  }

  /** Gives the reserve descriptor up to accept and drop one connection: the peer is told, the queue moves on. */
  #turnAway(code: number): void {
    const error = systemError('accept4', code)
    this.#closeReserve()
    const fd = accept4(this.fd, 0, 0, SOCK_CLOEXEC)
    if (fd >= 0) {
      setResetOnClose(fd) // an end in order would look like an answer without a byte
      close(fd)
    }
    this.#openReserve()
    // Somebody else took the last number: nobody can be told now, and asking again at once would spin.
    if (fd < 0 || this.#reserve < 0) this.#pause()
    this.#handler.onAcceptRefused(error)
  }

  #pause(): void {
    if (this.#isClosed || this.#retry !== null) return
    this.#reactor.unwatch(this.fd) // EPOLLEXCLUSIVE allows no change, only leaving and coming back
    this.#retry = this.#reactor.startTimer(ACCEPT_RETRY_MS, () => {
      this.#retry = null
      if (this.#reserve < 0) this.#openReserve()
      this.#watch()
    })
  }

  #watch(): void {
    const events = this.#isShared ? EPOLLIN | EPOLLEXCLUSIVE : EPOLLIN
    this.#reactor.watch(this.fd, events, this, this.#isShared)
  }

  #openReserve(): void {
    this.#reserve = open('/dev/null', O_CLOEXEC)
    if (this.#reserve >= 0) this.#reactor.descriptors.add(this.#reserve)
  }

  #closeReserve(): void {
    if (this.#reserve < 0) return
    this.#reactor.descriptors.remove(this.#reserve) // before the number is free for others
    close(this.#reserve)
    this.#reserve = -1
  }

  /**
   * Stops accepting once the queue is empty. Of those who share a socket the kernel wakes one: if that one only stopped
   * watching, a connection would wait until another one comes.
   */
  finish(): void {
    if (this.#isClosed) return
    this.#reactor.unwatch(this.fd)
    this.#accept(LISTEN_BACKLOG)
    this.close()
  }

  /** Stops accepting; a descriptor of our own is closed, a shared one is left to its owner. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    if (this.#isShared) this.#reactor.unwatch(this.fd)
    else this.#reactor.closeLater(this.fd)
    this.#retry?.cancel()
    this.#closeReserve()
  }
}

/** What a listening socket needs beside its address. */
export interface ListenOptions {
  readonly backlog?: number
  /** Runs between socket() and bind(): marks, transparency. */
  readonly prepare?: (fd: number, family: number) => void
}

/**
 * Opens a listening socket in the thread's current namespace; `ip` '::' is dual-stack.
 * @throws OUT_OF_DESCRIPTORS, MISSING_CAPABILITY, PORT_TAKEN, SYSTEM_CALL
 */
export function openListener(ip: string, port: number, options: ListenOptions = {}): number {
  const family = ip.includes(':') ? AF_INET6 : AF_INET
  const fd = createSocket(family, SOCK_STREAM)
  try {
    setReuseAddress(fd)
    if (family === AF_INET6) setIpv6Only(fd, ip !== '::')
    options.prepare?.(fd, family)
    const address = encodeSocketAddress(ip, port)
    if (bind(fd, address.address, address.bytes) !== 0)
      throw systemError(`bind ${formatSocketAddress(ip, port)}`)
    if (listen(fd, options.backlog ?? LISTEN_BACKLOG) !== 0) throw systemError('listen')
    return fd
  } catch (error) {
    close(fd)
    throw error
  }
}
