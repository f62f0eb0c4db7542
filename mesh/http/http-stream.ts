// SPDX-License-Identifier: Apache-2.0
// One exchange of HTTP, whichever version carries it: what everything above the codecs knows. The body is a ByteStream.
// test/support/http-stream-contract.ts is this as tests.
import type { ByteStream } from '../reactor/byte-stream.ts'
import type { HeaderList } from './header-list.ts'

/** Told about header lists after the first of a server: interim answers, the answer, trailers. */
export interface HttpHeadersHandler {
  /** `isEnd`: no byte of a body follows; onEnd does. Trailers come after the last byte. */
  onHeaders(stream: HttpStream, headers: HeaderList, isEnd: boolean): void
}

/**
 * A request and its answer. A server's is over with its answer, whatever the client still sends; a client's with both. CONNECT and
 * what was upgraded carry bytes of no message instead, and each half ends alone. A server's destroyed before its answer is answered
 * with the status of the reason by HTTP/1.1, and reset by HTTP/2.
 */
export interface HttpStream extends ByteStream {
  /** Gets answers (client) and trailers; null drops them. */
  headersHandler: HttpHeadersHandler | null
  /** True when the exchange is over on the wire; callbacks may still be owed. */
  readonly isClosed: boolean
  /** True when the peer's message has come to its end. */
  readonly isRemoteEnded: boolean
  /** True while nothing is read, because its owner wants a pause: the peer may have to wait. */
  readonly isPaused: boolean
  /** Server: the codec has answered by itself, with the status of the reason that onClose tells. */
  readonly isAnsweredByCodec: boolean
  /**
   * Server: interim answers, then the answer, before any write. Both: after the last write, with `isEnd`, trailers; they leave after
   * what was written. What cannot be sent as it is ends the exchange, and onClose says why.
   */
  sendHeaders(headers: HeaderList, isEnd: boolean): void
}
