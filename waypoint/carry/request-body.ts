// SPDX-License-Identifier: Apache-2.0
// What follows the head of a request: handed on to the attempt that is under way, copied to mirrors, and its beginning kept for
// another attempt. A request that is a head alone has none.
import type { HeaderList } from '../../mesh/http/header-list.ts'
import type { HttpStream } from '../../mesh/http/http-stream.ts'
import type { Block } from '../../mesh/reactor/byte-stream.ts'
import type { BodyLook } from './body-watch.ts'
import type { Mirror } from './mirror.ts'
import { Replay } from './replay.ts'

/** coming → ended. */
export class RequestBody {
  #replay: Replay | null = null
  #mirrors: readonly Mirror[] = []
  #trailers: HeaderList | null = null
  #hasEnded = false
  /** Bytes that had come at a look, and since when there are no more; -1: it was not the caller's turn. */
  #seenBytes = -1
  #seenMs = 0

  /** True when all that has come can be sent once more. */
  get isReplayable(): boolean {
    return this.#replay?.isWhole === true
  }

  /** From now on what comes is kept. */
  keep(): void {
    this.#replay = new Replay()
  }

  /** It is not sent again. */
  release(): void {
    this.#replay = null
  }

  copyTo(mirrors: readonly Mirror[]): void {
    this.#mirrors = mirrors
  }

  /** `stream` null: no attempt is under way. False: the caller has to pause. */
  write(block: Block, start: number, end: number, stream: HttpStream | null): boolean {
    this.#replay?.keep(block.bytes, start, end)
    for (const mirror of this.#mirrors) mirror.write(block.bytes, start, end)
    return stream === null || stream.isClosed || stream.write(block, start, end)
  }

  /** `trailers` null: it ended without. */
  end(trailers: HeaderList | null, stream: HttpStream | null): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#trailers = trailers
    if (stream !== null) this.#endOn(stream)
    this.#endMirrors()
  }

  /** What has come so far, for an attempt that begins. False: it wants a pause. */
  begin(stream: HttpStream, scratch: Block): boolean {
    const isFlowing = this.#replay === null || this.#replay.writeTo(stream, scratch)
    if (this.#hasEnded) this.#endOn(stream)
    return isFlowing
  }

  /**
   * One look at what has come, `bytes` by now: true when none has for as long as may be. `isHeldUp`: nobody takes it at the moment,
   * which is not the caller's fault.
   */
  hasStalled(bytes: number, isHeldUp: boolean, { nowMs, timeoutMs }: BodyLook): boolean {
    if (this.#hasEnded) return false
    if (!isHeldUp && bytes === this.#seenBytes) return nowMs - this.#seenMs >= timeoutMs
    this.#seenBytes = isHeldUp ? -1 : bytes
    this.#seenMs = nowMs
    return false
  }

  /** The request is over. */
  close(): void {
    this.#replay = null
    this.#endMirrors()
  }

  #endOn(stream: HttpStream): void {
    if (this.#trailers === null) stream.end()
    else stream.sendHeaders(this.#trailers, true)
  }

  #endMirrors(): void {
    for (const mirror of this.#mirrors) mirror.end()
  }
}
