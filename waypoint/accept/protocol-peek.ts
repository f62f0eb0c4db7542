// SPDX-License-Identifier: Apache-2.0
// What a connection speaks whose port says nothing: its first bytes tell, for a moment. Whoever says nothing waits for the
// server's first word, so it is carried as bytes. What was looked at is handed on as if nobody had.
import { CLIENT_PREFACE } from '../../mesh/h2/frames.ts'
import type { Block, ByteStream, ByteStreamHandler, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { Scheduler, Timer } from '../../mesh/reactor/scheduler.ts'

/** `tcp`: neither version of HTTP, or nothing at all. */
export type Spoken = 'http1' | 'http2' | 'tcp'

const METHOD = /^[A-Z][A-Z-]{0,15}( |$)/
const MAX_METHOD_CHARS = 16

/** By the first bytes; null: more are needed. Pure. */
export function spokenIn(bytes: Buffer): Spoken | null {
  const { length } = bytes
  if (CLIENT_PREFACE.subarray(0, length).equals(bytes.subarray(0, CLIENT_PREFACE.length)))
    return length >= CLIENT_PREFACE.length ? 'http2' : null
  const text = bytes.toString('latin1', 0, Math.min(length, MAX_METHOD_CHARS + 1))
  if (!METHOD.test(text)) return 'tcp'
  return text.includes(' ') ? 'http1' : null
}

/** Hears what is spoken, once; the stream is paused then, and has no bytes that are not in `head`. */
export interface PeekHandler {
  onSpoken(spoken: Spoken, head: Buffer, hasEnded: boolean): void
  /** It ended before anything was known. */
  onPeekClosed(reason: CloseReason): void
}

export class ProtocolPeek implements ByteStreamHandler {
  readonly #stream: ByteStream
  readonly #handler: PeekHandler
  readonly #timer: Timer
  #head: Buffer = Buffer.alloc(0)
  #isDone = false

  constructor(stream: ByteStream, scheduler: Scheduler, timeoutMs: number, handler: PeekHandler) {
    this.#stream = stream
    this.#handler = handler
    this.#timer = scheduler.startTimer(timeoutMs, () => this.#tell('tcp', false))
    stream.setHandler(this)
  }

  onData(block: Block, start: number, end: number): void {
    this.#head = Buffer.concat([this.#head, block.bytes.subarray(start, end)])
    const spoken = spokenIn(this.#head)
    if (spoken !== null) this.#tell(spoken, false)
  }
  onEnd(): void {
    this.#tell('tcp', true)
  }
  onDrain(): void {}
  onClose(reason: CloseReason): void {
    this.#timer.cancel()
    if (!this.#isDone) this.#handler.onPeekClosed(reason)
    this.#isDone = true
  }

  #tell(spoken: Spoken, hasEnded: boolean): void {
    if (this.#isDone) return
    this.#isDone = true
    this.#timer.cancel()
    this.#stream.pause()
    this.#handler.onSpoken(spoken, this.#head, hasEnded)
  }
}
