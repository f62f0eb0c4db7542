// SPDX-License-Identifier: Apache-2.0
// Datagrams to and from one peer: a question and its answer. Less than a UdpSocket, which hears everybody, and so quicker: no
// address is written or read, and the kernel finds its way once.
import type { Block, CloseReason } from './byte-stream.ts'
import { HEADROOM_BYTES } from './byte-stream.ts'
import { EPOLLIN, MSG_NOSIGNAL } from './ffi/constants.ts'
import { E, errno, read, send } from './ffi/libc.ts'
import type { Reactor, ReadinessHandler } from './reactor.ts'
import {
  hasNoRoom,
  MAX_DATAGRAM_BYTES,
  MAX_DATAGRAMS_PER_TURN,
  udpSocketCount,
  undelivered,
} from './udp-socket.ts'

/** Hears what arrives, always within a reactor turn, never from inside a call of the owner's, never after close(). */
export interface ConnectedHandler {
  /** `[start, end)` of `block`, valid during the call. */
  onDatagram(block: Block, start: number, end: number): void
  /** The network says that the peer cannot be reached: nothing more comes. */
  onUndelivered(reason: CloseReason): void
}

/** A connected datagram socket. */
export class ConnectedDatagrams implements ReadinessHandler {
  readonly #reactor: Reactor
  readonly #fd: number
  readonly #handler: ConnectedHandler
  #isOpen = true

  /** Takes over `fd`, which is connected and says what becomes of its datagrams (IP_RECVERR). */
  constructor(reactor: Reactor, fd: number, handler: ConnectedHandler) {
    this.#reactor = reactor
    this.#fd = fd
    this.#handler = handler
    reactor.watch(fd, EPOLLIN, this)
    udpSocketCount.open++
  }

  /** Null: it is under way, or lost as the network loses some. Otherwise why it never will be. */
  send(block: Block, start: number, end: number): CloseReason | null {
    if (!this.#isOpen || send(this.#fd, block.address + start, end - start, MSG_NOSIGNAL) >= 0) return null
    const code = errno()
    return hasNoRoom(code) || code === E.INTR ? null : undelivered(code)
  }

  onReady(): void {
    const block = this.#reactor.readBlock
    for (let i = 0; i < MAX_DATAGRAMS_PER_TURN && this.#isOpen; i++) {
      const count = read(this.#fd, block.address + HEADROOM_BYTES, MAX_DATAGRAM_BYTES)
      if (count >= 0) this.#handler.onDatagram(block, HEADROOM_BYTES, HEADROOM_BYTES + count)
      else {
        const code = errno()
        if (!hasNoRoom(code) && code !== E.INTR) this.#undeliver(code)
        return
      }
    }
  }

  /** The kernel says it again and again: it is heard once. */
  #undeliver(code: number): void {
    this.#reactor.unwatch(this.#fd)
    this.#handler.onUndelivered(undelivered(code))
  }

  /** Closes at the end of the turn; no callback follows. Idempotent. */
  close(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#reactor.closeLater(this.#fd)
    udpSocketCount.open--
  }
}
