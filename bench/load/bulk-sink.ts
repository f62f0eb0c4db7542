// SPDX-License-Identifier: Apache-2.0
// Program: takes everything on every connection and answers, once the sender has ended, with how much came: eight
// bytes, so that the sender knows when the last one has arrived. The kernel throws the bytes away where they lie, so
// that the sink leaves the processor to those that are measured.
import { EPOLLIN, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC } from '../../mesh/reactor/ffi/constants.ts'
import { E, errno, recvfrom, send } from '../../mesh/reactor/ffi/libc.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import { Reactor, type ReadinessHandler } from '../../mesh/reactor/reactor.ts'
import { localAddress } from '../../mesh/reactor/socket-options.ts'
import { openListener, TcpListener } from '../../mesh/reactor/tcp-listener.ts'
import { answer, programArguments } from './dial.ts'

/** Settings. The answer is `{port}`. */
export interface BulkSinkOptions {
  /** 0: any. */
  readonly port: number
}

/** One read; other connections get their turn after it. */
const MAX_READ_BYTES = 4_194_304
const REPLY_BYTES = 8
const reply = allocateBlock(REPLY_BYTES)

class Sink implements ReadinessHandler {
  readonly #reactor: Reactor
  readonly #fd: number
  #bytes = 0

  constructor(reactor: Reactor, fd: number) {
    this.#reactor = reactor
    this.#fd = fd
    reactor.watch(fd, EPOLLIN, this)
  }

  onReady(): void {
    // MSG_TRUNC on TCP: the bytes are taken off the socket and copied nowhere (tcp(7)).
    const count = recvfrom(this.#fd, 0, MAX_READ_BYTES, MSG_TRUNC | MSG_DONTWAIT, 0, 0)
    if (count > 0) {
      this.#bytes += count
      return
    }
    if (count < 0 && (errno() === E.AGAIN || errno() === E.INTR)) return
    if (count === 0) {
      reply.bytes.writeDoubleLE(this.#bytes, 0)
      send(this.#fd, reply.address, REPLY_BYTES, MSG_NOSIGNAL)
    }
    this.#reactor.closeLater(this.#fd)
  }
}

if (import.meta.main) {
  const reactor = new Reactor()
  const { port } = programArguments<BulkSinkOptions>()
  const fd = openListener('0.0.0.0', port)
  const handler = {
    onAccept: (accepted: number) => void new Sink(reactor, accepted),
    onAcceptRefused: (error: Error) => {
      throw error
    },
  }
  new TcpListener(reactor, fd, handler, false)
  answer({ port: localAddress(fd)?.port })
  reactor.run()
}
