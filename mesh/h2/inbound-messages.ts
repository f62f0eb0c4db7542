// SPDX-License-Identifier: Apache-2.0
// What header blocks mean, and how long a body may be: RFC 9113 §8 as code. A malformed message ends its stream, never more.
import { type HeaderList, isInterim, pseudoHeader } from '../http/header-list.ts'
import { contentLength, requestFault, responseFault, trailersFault } from './header-rules.ts'
import type { DecodedBlock } from './hpack/decoder.ts'
import { H2_LIMITS } from './limits.ts'
import { receivedRequest } from './request-form.ts'
import type { SessionCore } from './session-core.ts'
import { type H2Stream, STREAM } from './stream.ts'

const TOO_LARGE: HeaderList = [':status', '431']

/** One per session: the part of its frame sink that knows messages. */
export class InboundMessages {
  readonly #core: SessionCore

  constructor(core: SessionCore) {
    this.#core = core
  }

  /** A header block of a stream that is open. */
  onBlock(stream: H2Stream, block: DecodedBlock, isEnd: boolean): void {
    if (stream.bits & STREAM.REMOTE_END)
      this.#core.failStream(stream, 'H2_STREAM_CLOSED', 'HEADERS after END_STREAM')
    else if (this.#core.role === 'client' && (stream.bits & STREAM.HEADERS_RECEIVED) === 0)
      this.#onAnswer(stream, block, isEnd)
    else this.#onTrailers(stream, block, isEnd)
  }

  /** A header block that opens a stream. */
  onRequest(stream: H2Stream, block: DecodedBlock, isEnd: boolean, dependsOnItself: boolean): void {
    const core = this.#core
    if (isEnd) stream.bits |= STREAM.REMOTE_END
    if (block.isTooLarge) {
      core.sendHeaders(stream, TOO_LARGE, true)
      core.failStream(stream, 'H2_HEADERS_TOO_LARGE', 'request')
      return
    }
    const fault = dependsOnItself ? 'a stream depends on itself' : requestFault(block.fields)
    if (fault !== '') {
      core.failStream(stream, 'H2_PROTOCOL', fault)
      return
    }
    const method = pseudoHeader(block.fields, ':method')
    const isTunnel = method === 'CONNECT'
    if (isTunnel) stream.bits |= STREAM.TUNNEL
    else {
      if (method === 'HEAD') stream.bits |= STREAM.HEAD
      if (!this.#expectBody(stream, contentLength(block.fields) ?? -1)) return
    }
    core.handler.onStream(stream, isTunnel ? block.fields : receivedRequest(block.fields), isEnd)
    if (isEnd && !stream.isClosed) stream.tellEnd()
  }

  /** `bytes` of a body whose length is known arrived. False: it has more than that, and the stream is over. */
  countBody(stream: H2Stream, bytes: number): boolean {
    stream.expectedBytes -= bytes
    if (stream.expectedBytes >= 0) return true
    this.#core.failStream(stream, 'H2_PROTOCOL', 'more DATA than content-length says')
    return false
  }

  /** END_STREAM arrived. */
  endRemote(stream: H2Stream): void {
    if (stream.bits & (STREAM.CLOSED | STREAM.REMOTE_END) || !this.#isComplete(stream)) return
    stream.bits |= STREAM.REMOTE_END
    stream.tellEnd()
    this.#core.closeIfEnded(stream)
  }

  #onAnswer(stream: H2Stream, block: DecodedBlock, isEnd: boolean): void {
    const core = this.#core
    if (block.isTooLarge) {
      core.failStream(stream, 'H2_HEADERS_TOO_LARGE', 'response')
      return
    }
    const fault = responseFault(block.fields)
    if (fault !== '') {
      core.failStream(stream, 'H2_PROTOCOL', fault)
      return
    }
    if (isInterim(block.fields)) {
      // SPEC RFC9113 §8.1: interim responses precede the final one and never end the stream.
      if (isEnd) core.failStream(stream, 'H2_PROTOCOL', 'an interim response ended the stream')
      else if (++stream.interimCount > H2_LIMITS.interim.value)
        core.failStream(stream, 'H2_PROTOCOL', 'too many interim answers')
      else stream.headersHandler?.onHeaders(stream, block.fields, false)
      return
    }
    stream.bits |= STREAM.HEADERS_RECEIVED
    if (isEnd) stream.bits |= STREAM.REMOTE_END
    const length = answerBytes(stream, block.fields)
    if (!this.#expectBody(stream, length)) return
    stream.headersHandler?.onHeaders(stream, block.fields, isEnd)
    if (!isEnd || stream.isClosed) return
    stream.tellEnd()
    core.closeIfEnded(stream)
  }

  /** SPEC RFC9113 §8.1: a second header list is trailers and ends the stream. */
  #onTrailers(stream: H2Stream, block: DecodedBlock, isEnd: boolean): void {
    const core = this.#core
    const fault = isEnd ? trailersFault(block.fields) : 'HEADERS in the middle of the body'
    if (fault !== '') core.failStream(stream, 'H2_PROTOCOL', fault)
    else if (block.isTooLarge) core.failStream(stream, 'H2_HEADERS_TOO_LARGE', 'trailers')
    else if (!this.#isComplete(stream)) return
    else if (stream.receiveTrailers(block.fields)) this.endRemote(stream)
    else core.resetForRoom(stream, 0)
  }

  /** SPEC RFC9113 §8.1.1: what was announced is what comes. `bytes` -1: nothing was. */
  #expectBody(stream: H2Stream, bytes: number): boolean {
    stream.expectedBytes = bytes
    return (stream.bits & STREAM.REMOTE_END) === 0 || this.#isComplete(stream)
  }

  #isComplete(stream: H2Stream): boolean {
    if (stream.expectedBytes <= 0) return true
    this.#core.failStream(stream, 'H2_PROTOCOL', 'less DATA than content-length says')
    return false
  }
}

/** Bytes that the body of an answer must have; -1: any. SPEC RFC9110 §6.4.1, RFC9113 §8.1.1. */
function answerBytes(stream: H2Stream, headers: HeaderList): number {
  const status = pseudoHeader(headers, ':status')
  // SPEC RFC9110 §9.3.6: in the answer that grants CONNECT a length is ignored.
  if (stream.bits & STREAM.TUNNEL && status.startsWith('2')) return -1
  if (stream.bits & STREAM.HEAD || status === '204' || status === '304') return 0
  return contentLength(headers) ?? -1
}
