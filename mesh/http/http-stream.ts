// SPDX-License-Identifier: Apache-2.0
// One exchange of HTTP, whichever version carries it: what everything above the codecs knows. The body is a ByteStream.
import type { HeaderList } from '../h2/hpack/decoder.ts'
import type { ByteStream } from '../reactor/byte-stream.ts'

/** Told about header lists after the first of a server: interim answers, the answer, trailers. */
export interface HttpHeadersHandler {
  /** `isEnd`: no byte of a body follows; onEnd does. */
  onHeaders(stream: HttpStream, headers: HeaderList, isEnd: boolean): void
}

/** A request and its answer. */
export interface HttpStream extends ByteStream {
  /** Gets answers (client) and trailers; null drops them. */
  headersHandler: HttpHeadersHandler | null
  /** True when the exchange is over on the wire; callbacks may still be owed. */
  readonly isClosed: boolean
  /** True when the peer's message has come to its end. */
  readonly isRemoteEnded: boolean
  /**
   * Server: interim answers, then the answer, before any write. Both: after the last write, with `isEnd`, trailers.
   * What cannot be sent as it is ends the exchange, and onClose says why.
   */
  sendHeaders(headers: HeaderList, isEnd: boolean): void
}
