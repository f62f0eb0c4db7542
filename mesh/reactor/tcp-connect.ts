// SPDX-License-Identifier: Apache-2.0
// Opening a TCP connection with a deadline. The socket is made by the caller (inside the right namespace, with its
// options and source address); the result is delivered once, in a later turn.

import type { ReasonCode } from '../errors/reasons.ts'
import { formatSocketAddress } from '../net/address.ts'
import type { ByteStreamHandler, CloseReason } from './byte-stream.ts'
import { EPOLLOUT } from './ffi/constants.ts'
import { connect, describeErrno, E, errno } from './ffi/libc.ts'
import type { Reactor, ReadinessHandler } from './reactor.ts'
import type { Timer } from './scheduler.ts'
import { encodeSocketAddress } from './socket-address.ts'
import { setNoDelay, takeSocketError } from './socket-options.ts'
import { TcpSocket } from './tcp-socket.ts'
import type { TurnShare } from './turn-share.ts'

const REASON_OF_ERRNO: Readonly<Record<number, ReasonCode>> = {
  [E.CONNREFUSED]: 'ENDPOINT_REFUSED',
  [E.TIMEDOUT]: 'CONNECT_TIMEOUT',
  [E.NETUNREACH]: 'NETWORK_UNREACHABLE',
  [E.HOSTUNREACH]: 'NETWORK_UNREACHABLE',
}

/** Hears how a connect ended: exactly one of the two, never within startConnect. */
export interface ConnectHandler {
  /** The descriptor is connected and watched: wrap it at once (openSocket, or TLS). */
  onConnected(fd: number): void
  /** The descriptor is closed already. */
  onConnectFailed(reason: CloseReason): void
}

/** A connect under way. */
export class PendingConnect implements ReadinessHandler {
  readonly #reactor: Reactor
  readonly #fd: number
  readonly #handler: ConnectHandler
  readonly #target: string
  #deadline: Timer | null = null
  #isDone = false
  #isCancelled = false

  constructor(reactor: Reactor, fd: number, target: string, timeoutMs: number, handler: ConnectHandler) {
    this.#reactor = reactor
    this.#fd = fd
    this.#target = target
    this.#handler = handler
    this.#deadline = reactor.startTimer(timeoutMs, () => this.#fail('CONNECT_TIMEOUT', 'no answer'))
    reactor.watch(fd, EPOLLOUT, this)
  }

  onReady(): void {
    const code = takeSocketError(this.#fd)
    if (code === E.INPROGRESS) return
    if (code !== 0) this.#fail(REASON_OF_ERRNO[code] ?? 'CONNECT_FAILED', describeErrno(code))
    else if (this.#finish()) this.#handler.onConnected(this.#fd)
  }

  /** Gives up silently: no callback follows. */
  cancel(): void {
    this.#isCancelled = true
    if (this.#finish()) this.#reactor.closeLater(this.#fd)
  }

  /** The kernel said no at once (no route): reported like every other failure, in a later turn. */
  failLater(code: number): void {
    if (!this.#finish()) return
    this.#reactor.closeLater(this.#fd)
    const reason: CloseReason = {
      code: REASON_OF_ERRNO[code] ?? 'CONNECT_FAILED',
      detail: `${this.#target}: ${describeErrno(code)}`,
    }
    this.#reactor.inNextTurn(() => {
      if (!this.#isCancelled) this.#handler.onConnectFailed(reason)
    })
  }

  #fail(code: ReasonCode, detail: string): void {
    if (!this.#finish()) return
    this.#reactor.closeLater(this.#fd)
    this.#handler.onConnectFailed({ code, detail: `${this.#target}: ${detail}` })
  }

  #finish(): boolean {
    if (this.#isDone) return false
    this.#isDone = true
    this.#deadline?.cancel()
    return true
  }
}

/** Starts connecting `fd` (non-blocking, unconnected, not watched yet); owns it from here on. */
export function startConnect(
  reactor: Reactor,
  fd: number,
  ip: string,
  port: number,
  timeoutMs: number,
  handler: ConnectHandler,
  isIpv6Socket = false,
): PendingConnect {
  setNoDelay(fd) // a turn's output is written at once: waiting for an ACK would only add 40 ms
  const address = encodeSocketAddress(ip, port, isIpv6Socket)
  const result = connect(fd, address.address, address.bytes)
  const code = result === 0 ? 0 : errno()
  const pending = new PendingConnect(reactor, fd, formatSocketAddress(ip, port), timeoutMs, handler)
  if (code !== 0 && code !== E.INPROGRESS && code !== E.INTR) pending.failLater(code)
  return pending
}

/** Wraps the descriptor that onConnected delivered; `share` as of TcpSocket. */
export function openSocket(
  reactor: Reactor,
  fd: number,
  handler: ByteStreamHandler,
  share: TurnShare | null = null,
): TcpSocket {
  return new TcpSocket(reactor, fd, handler, true, share)
}
