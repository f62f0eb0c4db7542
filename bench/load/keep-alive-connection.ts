// SPDX-License-Identifier: Apache-2.0
// An HTTP/1.1 client connection that asks for the same small document again and again, one request at a time. The
// first answer is parsed; from then on an answer is known by its length.
import {
  type Block,
  type ByteStreamHandler,
  CLOSED_OK,
  type CloseReason,
  HEADROOM_BYTES,
} from '../../mesh/reactor/byte-stream.ts'
import type { Reactor } from '../../mesh/reactor/reactor.ts'
import { type ConnectHandler, openSocket } from '../../mesh/reactor/tcp-connect.ts'
import type { TcpSocket } from '../../mesh/reactor/tcp-socket.ts'
import { dial, requestBlock, type Target } from './dial.ts'

const REQUEST = requestBlock(true)
const STATUS_OFFSET = 'HTTP/1.1 '.length
const STATUS_OK = Buffer.from('200')

/** Hears of a connection. */
export interface ConnectionOwner {
  /** The connection is there, or an answer is complete: it may ask (again). */
  onIdle(connection: KeepAliveConnection): void
  /** It failed or was closed by the other side. */
  onLost(connection: KeepAliveConnection, reason: string): void
}

/** One connection. Owned by its ConnectionOwner. */
export class KeepAliveConnection implements ByteStreamHandler, ConnectHandler {
  /** For the owner: when the request under way was due. */
  dueMs = 0
  readonly #reactor: Reactor
  readonly #owner: ConnectionOwner
  #socket: TcpSocket | null = null
  #head = ''
  #answerBytes = 0
  #missingBytes = 0

  constructor(reactor: Reactor, target: Target, source: string, owner: ConnectionOwner) {
    this.#reactor = reactor
    this.#owner = owner
    dial(reactor, target, source, this)
  }

  /** Asks. */
  request(): void {
    this.#missingBytes = this.#answerBytes
    this.#socket?.write(REQUEST, HEADROOM_BYTES, REQUEST.bytes.length)
  }

  /** Ends the connection in order; onLost does not follow. */
  close(): void {
    this.#socket?.setHandler({ onData() {}, onEnd() {}, onDrain() {}, onClose() {} })
    this.#socket?.end()
  }

  onConnected(fd: number): void {
    this.#socket = openSocket(this.#reactor, fd, this)
    this.#owner.onIdle(this)
  }

  onConnectFailed({ code, detail }: CloseReason): void {
    this.#owner.onLost(this, `${code} ${detail}`)
  }

  onData({ bytes }: Block, start: number, end: number): void {
    if (this.#answerBytes === 0) {
      this.#learn(bytes.toString('latin1', start, end))
      return
    }
    if (this.#missingBytes === this.#answerBytes && end - start >= STATUS_OFFSET + 3) {
      const from = start + STATUS_OFFSET
      if (bytes.compare(STATUS_OK, 0, 3, from, from + 3) !== 0) {
        this.#fail('an answer other than 200')
        return
      }
    }
    this.#missingBytes -= end - start
    if (this.#missingBytes === 0) this.#owner.onIdle(this)
    else if (this.#missingBytes < 0) this.#fail('more bytes than an answer has')
  }

  onEnd(): void {
    this.#fail('ended by the other side')
  }

  onDrain(): void {}

  onClose({ code, detail }: CloseReason): void {
    this.#owner.onLost(this, `${code} ${detail}`)
  }

  /** The first answer: its length is that of all. */
  #learn(text: string): void {
    this.#head += text
    const headBytes = this.#head.indexOf('\r\n\r\n') + 4
    if (headBytes < 4) return
    const bodyBytes = Number(/^content-length: (\d+)\r$/im.exec(this.#head)?.[1] ?? Number.NaN)
    if (!this.#head.startsWith('HTTP/1.1 200 ') || Number.isNaN(bodyBytes)) {
      this.#fail(`unexpected answer: ${this.#head.slice(0, 80)}`)
    } else if (this.#head.length >= headBytes + bodyBytes) {
      this.#answerBytes = headBytes + bodyBytes
      this.#owner.onIdle(this)
    }
  }

  #fail(reason: string): void {
    this.#socket?.setHandler({ onData() {}, onEnd() {}, onDrain() {}, onClose() {} })
    this.#socket?.destroy(CLOSED_OK)
    this.#owner.onLost(this, reason)
  }
}
