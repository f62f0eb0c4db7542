// SPDX-License-Identifier: Apache-2.0
// Which server a TLS client asks for: its first message is looked at, and handed on as if nobody had. Whoever says nothing for a
// moment, or no TLS, is carried without a name; a server that speaks first waits no longer.
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { readClientHello } from '../../mesh/net/client-hello.ts'
import type { Block, ByteStream, ByteStreamHandler, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { Scheduler, Timer } from '../../mesh/reactor/scheduler.ts'
import { HANDSHAKE_TIMEOUT_MS } from '../carry/limits.ts'

/** Hears once; the stream is paused then, and has no bytes that are not in `head`. */
export interface HelloHandler {
  /** `serverName` '': it asks for none. */
  onServerName(serverName: string, head: Buffer, hasEnded: boolean): void
  /** It speaks TLS that nobody should answer. */
  onUnreadable(refusal: Refusal): void
  /** It ended before anything was known. */
  onPeekClosed(reason: CloseReason): void
}

/** nothing heard → the beginning of a ClientHello → told. */
export class HelloPeek implements ByteStreamHandler {
  readonly #stream: ByteStream
  readonly #scheduler: Scheduler
  readonly #handler: HelloHandler
  readonly #parts: Buffer[] = []
  #length = 0
  /** Nothing new can be told before there are so many. */
  #wanted = 1
  #timer: Timer
  #isDone = false

  /** `silenceMs`: how long the first byte is waited for. */
  constructor(stream: ByteStream, scheduler: Scheduler, silenceMs: number, handler: HelloHandler) {
    this.#stream = stream
    this.#scheduler = scheduler
    this.#handler = handler
    this.#timer = scheduler.startTimer(silenceMs, () => this.#tell('', false))
    stream.setHandler(this)
  }

  onData(block: Block, start: number, end: number): void {
    if (this.#length === 0) {
      this.#timer.cancel()
      this.#timer = this.#scheduler.startTimer(HANDSHAKE_TIMEOUT_MS, () =>
        this.#refuse(refuse('HANDSHAKE_TIMEOUT', 'the ClientHello is not complete')),
      )
    }
    this.#parts.push(Buffer.from(block.bytes.subarray(start, end)))
    this.#length += end - start
    if (this.#length < this.#wanted) return
    const read = readClientHello(this.#head())
    if (read.kind === 'more') this.#wanted = read.bytes
    else if (read.kind === 'malformed')
      this.#refuse(refuse('TLS_HANDSHAKE', `the ClientHello: ${read.detail}`))
    else this.#tell(read.kind === 'hello' ? read.name : '', false)
  }
  onEnd(): void {
    this.#tell('', true)
  }
  onDrain(): void {}
  onClose(reason: CloseReason): void {
    if (this.#end()) this.#handler.onPeekClosed(reason)
  }

  #head(): Buffer {
    const head = Buffer.concat(this.#parts)
    this.#parts.splice(0, this.#parts.length, head)
    return head
  }

  #tell(serverName: string, hasEnded: boolean): void {
    if (!this.#end()) return
    this.#stream.pause()
    this.#handler.onServerName(serverName, this.#head(), hasEnded)
  }

  #refuse(refusal: Refusal): void {
    if (this.#end()) this.#handler.onUnreadable(refusal)
  }

  /** False: it was told before. */
  #end(): boolean {
    if (this.#isDone) return false
    this.#isDone = true
    this.#timer.cancel()
    return true
  }
}
