// SPDX-License-Identifier: Apache-2.0
// The near side of a connection before its far side is up: it can be taken into use once, or refused once. Holding
// it costs no stream object and no epoll registration.
import type { Refusal } from '../../mesh/errors/refusal.ts'
import type { ByteStream, ByteStreamHandler } from '../../mesh/reactor/byte-stream.ts'
import type { Reactor } from '../../mesh/reactor/reactor.ts'
import { setResetOnClose } from '../../mesh/reactor/socket-options.ts'
import { TcpSocket } from '../../mesh/reactor/tcp-socket.ts'
import type { TurnShare } from '../../mesh/reactor/turn-share.ts'

/** One of the two is called, once. */
export interface Downstream {
  /** The client ended its half before the far side was up: the relay will not hear of it again. */
  readonly hasEnded: boolean
  /** The far side is up: the stream to relay, its handler is set by the caller. */
  accept(): ByteStream
  /** There is no far side. */
  refuse(refusal: Refusal): void
}

/** Until the relay sets its handlers, within the same call, nothing can happen. */
export const noHandler: ByteStreamHandler = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} }

/** An accepted TCP connection: refused by a reset, as a closed port would. */
export class TcpDownstream implements Downstream {
  readonly hasEnded = false // nothing was read yet
  readonly #reactor: Reactor
  readonly #fd: number
  readonly #share: TurnShare

  /** `share`: of the pod. */
  constructor(reactor: Reactor, fd: number, share: TurnShare) {
    this.#share = share
    this.#reactor = reactor
    this.#fd = fd
    reactor.descriptors.add(fd)
  }

  accept(): ByteStream {
    return new TcpSocket(this.#reactor, this.#fd, noHandler, false, this.#share)
  }

  refuse(): void {
    setResetOnClose(this.#fd)
    this.#reactor.closeLater(this.#fd)
  }
}
