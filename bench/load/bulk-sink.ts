// SPDX-License-Identifier: Apache-2.0
// Program: takes everything on every connection and answers, once the sender has ended, with how much came: eight
// bytes, so that the sender knows when the last one has arrived.
import { type Block, type ByteStreamHandler, HEADROOM_BYTES } from '../../mesh/reactor/byte-stream.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import { Reactor } from '../../mesh/reactor/reactor.ts'
import { openListener, TcpListener } from '../../mesh/reactor/tcp-listener.ts'
import { TcpSocket } from '../../mesh/reactor/tcp-socket.ts'
import { answer, programArguments } from './dial.ts'

/** Settings. */
export interface BulkSinkOptions {
  readonly port: number
}

class Sink implements ByteStreamHandler {
  readonly #socket: TcpSocket
  #bytes = 0

  constructor(reactor: Reactor, fd: number) {
    this.#socket = new TcpSocket(reactor, fd, this)
  }

  onData(_block: Block, start: number, end: number): void {
    this.#bytes += end - start
  }

  onEnd(): void {
    const block = allocateBlock(HEADROOM_BYTES + 8)
    block.bytes.writeDoubleLE(this.#bytes, HEADROOM_BYTES)
    this.#socket.write(block, HEADROOM_BYTES, HEADROOM_BYTES + 8)
    this.#socket.end()
  }

  onDrain(): void {}
  onClose(): void {}
}

if (import.meta.main) {
  const reactor = new Reactor()
  const { port } = programArguments<BulkSinkOptions>()
  const handler = {
    onAccept: (fd: number) => void new Sink(reactor, fd),
    onAcceptRefused: (error: Error) => {
      throw error
    },
  }
  new TcpListener(reactor, openListener('0.0.0.0', port), handler, false)
  answer({ port })
  reactor.run()
}
