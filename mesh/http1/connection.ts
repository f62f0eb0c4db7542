// SPDX-License-Identifier: Apache-2.0
// What both ends of an HTTP/1.1 connection do alike: read messages, keep what may not be read yet, write bodies, end. The
// sessions say what a head means and what follows an exchange. One exchange at a time; SPEC RFC9112 §9.
import type { Refusal } from '../errors/refusal.ts'
import { ByteQueue } from '../h2/byte-queue.ts'
import type { SessionResources } from '../h2/session-resources.ts'
import type { HeaderList } from '../http/header-list.ts'
import {
  type Block,
  type ByteStream,
  type ByteStreamHandler,
  CLOSED_OK,
  type CloseReason,
} from '../reactor/byte-stream.ts'
import type { Timer, TurnTask } from '../reactor/scheduler.ts'
import { trailersText } from './head-text.ts'
import { HTTP1_LIMITS } from './limits.ts'
import { type MessageHandler, MessageReader } from './message-reader.ts'
import { MessageWriter } from './message-writer.ts'
import type { BodyLength } from './request-head.ts'
import { EXCHANGE, type ExchangeOwner, type Http1Stream } from './stream.ts'

/** open → lingering (our half has ended, nothing is read) → closed; a failure jumps to closed. */
export type ConnectionState = 'open' | 'lingering' | 'closed'

/** What a connection needs. */
export interface Http1Options {
  /** Owned by the session from now on. */
  readonly transport: ByteStream
  /** Shared by all sessions of the reactor. */
  readonly resources: SessionResources
}

/** See the file's head. */
export abstract class Http1Connection implements ByteStreamHandler, MessageHandler, ExchangeOwner, TurnTask {
  isAtTurnEnd = false
  protected readonly transport: ByteStream
  protected readonly resources: SessionResources
  protected readonly reader: MessageReader
  protected readonly writer: MessageWriter
  /** The exchange that is open or whose end is not told. */
  protected stream: Http1Stream | null = null
  protected state: ConnectionState = 'open'
  /** Another exchange may follow the one that is open. */
  protected isKeptAlive = true
  /** The peer has ended its half, and all before it is read. */
  protected hasPeerEnded = false
  /** Received and not read: the exchange is paused, or the next one came early. */
  #inbound: ByteQueue | null = null
  #isEndWaiting = false
  #isTransportClosed = false
  #isTransportPaused = false
  #closeReason: CloseReason = CLOSED_OK
  #isCloseTold = false
  #headTimer: Timer | null = null
  #lingerTimer: Timer | null = null
  #lingerBytes = 0
  #turnTimer: Timer | null = null
  #turnMs = -1
  #exchangesOfTurn = 0

  constructor({ transport, resources }: Http1Options) {
    this.transport = transport
    this.resources = resources
    this.reader = new MessageReader(this)
    this.writer = new MessageWriter(transport, resources)
    transport.setHandler(this)
  }

  /** Bytes written and not yet handed to the kernel. */
  get bufferedBytes(): number {
    return this.transport.bufferedBytes
  }
  get isClosed(): boolean {
    return this.state === 'closed'
  }
  /** Received bytes that wait. */
  get bufferedInboundBytes(): number {
    return this.#inbound === null ? 0 : this.#inbound.bytes
  }

  /** A head was read. */
  abstract onHead(text: string): BodyLength | 'interim' | null
  /** The peer broke the protocol or a limit, or ended in the middle of a message. */
  protected abstract failed(reason: CloseReason): void
  abstract sendHeaders(stream: Http1Stream, headers: HeaderList, isEnd: boolean): void
  abstract abort(stream: Http1Stream, reason: CloseReason): void
  /** The exchange is over and told, its message read; false: the connection ends. */
  protected abstract next(): boolean
  /** The peer ended its half between two messages. */
  protected abstract peerEnded(): void
  protected abstract tellClose(reason: CloseReason): void
  /** A body that nobody takes: its exchange is over. False: too much of it. */
  protected abstract discard(bytes: number): boolean

  // ---- ByteStreamHandler, of the transport

  onData(block: Block, start: number, end: number): void {
    if (this.state !== 'open') return
    const at = this.#inbound === null ? this.reader.read(block, start, end) : start
    if (at < end && this.state === 'open') this.#keep(block, at, end)
    // In the middle of a body: what comes now would only wait here instead of at its sender.
    else if (this.reader.isPaused && !this.reader.isDone && this.state === 'open') this.#pauseTransport()
    this.#settle()
  }

  onEnd(): void {
    this.#isEndWaiting = true
    this.#settle()
  }

  onDrain(): void {
    this.writer.isCongested = false
    if (this.stream !== null && this.stream.bits & EXCHANGE.WANTS_DRAIN) {
      this.stream.bits |= EXCHANGE.DRAINED
      this.defer()
    }
  }

  onClose(reason: CloseReason): void {
    // Both halves have ended in order, and the owner still has to take what came before.
    if (reason.code === 'OK' && this.#inbound !== null && this.state === 'open') {
      this.#isEndWaiting = true
      this.#isTransportClosed = true
      this.writer.close()
      return
    }
    this.close(reason)
    this.runAtTurnEnd()
  }

  // ---- MessageHandler, of the reader

  onBody(block: Block, start: number, end: number): void {
    if (this.stream !== null && !this.stream.isClosed) this.stream.receive(block, start, end)
    else if (!this.discard(end - start)) this.linger()
  }

  onTrailers(headers: HeaderList): void {
    const { stream } = this
    if (stream !== null && !stream.isClosed) stream.headersHandler?.onHeaders(stream, headers, true)
  }

  onMessageEnd(): void {
    const { stream } = this
    if (stream === null || stream.isClosed) {
      this.defer()
      return
    }
    if (stream.bits & EXCHANGE.TUNNEL_ASKED) return
    this.endRemote(stream)
  }

  onFault({ code, detail }: Refusal): void {
    this.failed({ code, detail })
  }

  // ---- ExchangeOwner

  writeBody(stream: Http1Stream, block: Block, start: number, end: number): boolean {
    if (!this.writer.write(block, start, end)) {
      this.abort(stream, { code: 'HTTP_BODY_LENGTH', detail: 'more bytes than announced' })
      return true
    }
    return !this.writer.isCongested
  }

  endBody(stream: Http1Stream): void {
    this.#end(stream, '')
  }

  setPaused(isPaused: boolean): void {
    if (isPaused) this.reader.pause()
    else this.#resumeReading()
  }

  defer(): void {
    this.resources.scheduler.atTurnEnd(this)
  }

  runAtTurnEnd(): void {
    this.#tellStream()
    this.#readKept()
    this.#settle()
    if (this.state === 'closed') this.#tellClosed()
  }

  // ---- for the sessions

  /** Trailers after the last byte of the body. */
  protected sendTrailers(stream: Http1Stream, headers: HeaderList): void {
    const text = trailersText(headers)
    if (typeof text === 'string') this.#end(stream, text)
    else this.abort(stream, { code: text.code, detail: text.detail })
  }

  /** The head of our message has left, with all of the message where `isEnd`. */
  protected noteHeadSent(stream: Http1Stream, isEnd: boolean): void {
    stream.bits |= EXCHANGE.HEAD_SENT
    if (isEnd) this.#end(stream, '')
  }

  /** Bytes of no message from now on, both ways. */
  protected beginTunnel(stream: Http1Stream): void {
    stream.bits = (stream.bits & ~EXCHANGE.TUNNEL_ASKED) | EXCHANGE.TUNNEL
    this.isKeptAlive = false
    this.reader.beginRaw()
    this.defer()
  }

  /** The peer's message is complete. */
  protected endRemote(stream: Http1Stream): void {
    stream.bits |= EXCHANGE.REMOTE_END
    this.endIfComplete(stream)
    this.defer()
  }

  protected endIfComplete(stream: Http1Stream): void {
    const both = EXCHANGE.LOCAL_END | EXCHANGE.REMOTE_END
    if ((stream.bits & both) === both) this.endStream(stream, CLOSED_OK)
  }

  /** The exchange is over; its owner hears it at the end of the turn. */
  protected endStream(stream: Http1Stream, reason: CloseReason): void {
    if (stream.bits & EXCHANGE.CLOSED) return
    stream.bits |= EXCHANGE.CLOSED
    stream.closeReason = reason
    this.#resumeReading()
    this.defer()
  }

  /** Ends our half once all has left, and reads nothing more; cut when the peer takes nothing. */
  protected linger(): void {
    if (this.state !== 'open') return
    if (this.#isTransportClosed) {
      this.close(CLOSED_OK)
      return
    }
    this.state = 'lingering'
    this.#headTimer?.cancel()
    this.writer.close()
    this.transport.end()
    this.#dropKept()
    this.#startLinger()
  }

  /** Ends the connection at once, the exchange with it. */
  protected close(reason: CloseReason): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.#headTimer?.cancel()
    this.#lingerTimer?.cancel()
    this.#dropKept()
    this.writer.drop()
    this.#closeReason = reason
    if (this.stream !== null) this.endStream(this.stream, reason.code === 'OK' ? CUT_SHORT : reason)
    this.transport.destroy(reason)
    this.defer()
  }

  // ---- inside

  #end(stream: Http1Stream, trailers: string): void {
    const { framing, leftBytes } = this.writer
    if (leftBytes > 0) {
      this.abort(stream, { code: 'HTTP_BODY_LENGTH', detail: `${leftBytes} bytes are missing` })
      return
    }
    this.writer.end(trailers)
    stream.bits |= EXCHANGE.LOCAL_END
    if (framing === 'raw') {
      this.writer.close()
      this.transport.end()
    }
    this.onLocalEnd(stream)
    this.defer()
  }

  /** Our message is complete. */
  protected onLocalEnd(stream: Http1Stream): void {
    this.endIfComplete(stream)
  }

  #tellStream(): void {
    const { stream } = this
    if (stream === null) return
    stream.runDeferred()
    if (stream.isClosed) this.stream = null
  }

  /** After an exchange: reads the next one, or ends. */
  #settle(): void {
    if (this.state !== 'open') return
    if (this.#inbound === null && this.stream === null && this.reader.isDone && !this.next()) {
      this.linger()
      return
    }
    this.#watchHead()
    if (this.#inbound !== null || !this.#isEndWaiting || this.hasPeerEnded) return
    this.hasPeerEnded = true
    this.isKeptAlive = false
    if (!this.reader.end())
      this.failed({ code: 'PEER_RESET', detail: 'the peer ended in the middle of a message' })
    else if (this.stream === null || !this.stream.isRemoteEnded) this.peerEnded()
  }

  #readKept(): void {
    while (this.#inbound !== null && this.state === 'open') {
      if (this.stream === null && this.reader.isDone) {
        if (this.#isTurnSpent()) return
        if (!this.next()) {
          this.linger()
          return
        }
      }
      const segment = this.#inbound.head
      if (segment === null) break
      const at = this.reader.read(segment.block, segment.start, segment.end)
      // The read may have ended the connection, and the queue with it.
      if (this.#inbound === null) return
      const isStuck = at < segment.end
      this.#inbound.consume(at - segment.start)
      if (isStuck) return
    }
    if (this.#inbound === null || this.#inbound.bytes > 0) return
    this.#inbound = null
    if (!this.reader.isPaused || this.reader.isDone) this.#resumeTransport()
  }

  #resumeReading(): void {
    this.reader.resume()
    if (this.#inbound !== null) this.defer()
    else this.#resumeTransport()
  }

  #pauseTransport(): void {
    this.#isTransportPaused = true
    this.transport.pause()
  }

  #resumeTransport(): void {
    if (!this.#isTransportPaused || this.#isTransportClosed) return
    this.#isTransportPaused = false
    this.transport.resume()
  }

  /** A burst of requests in one packet is served over several turns: others wait in this one. */
  #isTurnSpent(): boolean {
    const { scheduler } = this.resources
    if (this.#turnTimer !== null) return true
    if (this.#turnMs !== scheduler.nowMs) {
      this.#turnMs = scheduler.nowMs
      this.#exchangesOfTurn = 0
    }
    if (++this.#exchangesOfTurn <= HTTP1_LIMITS.exchangesPerTurn.value) return false
    this.#turnTimer = scheduler.startTimer(1, () => {
      this.#turnTimer = null
      this.#turnMs = -1
      this.runAtTurnEnd()
    })
    return true
  }

  /** The transport is paused while bytes wait, so they are what one turn has read. */
  #keep(block: Block, start: number, end: number): void {
    if (this.resources.inboundUsedBytes + end - start > this.resources.inboundLimitBytes) {
      this.failed({ code: 'LIMIT_NODE', detail: 'received bytes that wait' })
      return
    }
    this.#inbound ??= new ByteQueue(this.resources, true)
    this.#inbound.push(block.bytes, start, end)
    this.#pauseTransport()
  }

  #dropKept(): void {
    this.#inbound?.clear()
    this.#inbound = null
    this.#turnTimer?.cancel()
    this.#turnTimer = null
  }

  /** A head has HTTP1_LIMITS.headTimeout from its first byte to its last, whatever comes between. */
  #watchHead(): void {
    if (!this.reader.isInHead) {
      if (this.#headTimer === null) return
      this.#headTimer.cancel()
      this.#headTimer = null
      return
    }
    const { value } = HTTP1_LIMITS.headTimeout
    this.#headTimer ??= this.resources.scheduler.startTimer(value, () =>
      this.failed({ code: 'HTTP_HEAD_TIMEOUT', detail: `not complete after ${value / 1000} s` }),
    )
  }

  #startLinger(): void {
    this.#lingerBytes = this.transport.bufferedBytes
    this.#lingerTimer = this.resources.scheduler.startTimer(HTTP1_LIMITS.linger.value, () => {
      const isTaken = this.transport.bufferedBytes < this.#lingerBytes
      if (isTaken) this.#startLinger()
      else this.close(CLOSED_OK)
    })
  }

  #tellClosed(): void {
    if (this.#isCloseTold) return
    this.#isCloseTold = true
    this.tellClose(this.#closeReason)
  }
}

const CUT_SHORT: CloseReason = { code: 'PEER_RESET', detail: 'the connection ended before the exchange did' }
