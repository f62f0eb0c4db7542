// SPDX-License-Identifier: Apache-2.0
// Plain requests over our HTTP/2 sessions, for tools that cannot CONNECT: a server that answers them and a client
// that asks. Bytes are a pattern of their position, so that a hole or a swap is seen.
import { isRefusal } from '../../mesh/errors/refusal.ts'
import type { H2Session } from '../../mesh/h2/session.ts'
import type { H2SessionHandler } from '../../mesh/h2/session-core.ts'
import type { H2Stream } from '../../mesh/h2/stream.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import type { HttpHeadersHandler, HttpStream } from '../../mesh/http/http-stream.ts'
import type { Block, ByteStreamHandler, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { memoryBlock } from '../../mesh/reactor/memory-pair.ts'

const HEADROOM = 16
const CHUNK_BYTES = 100_000
/** A prime, so that the pattern never lines up with frames, windows or blocks. */
const PATTERN_PERIOD = 251

/** `bytes` of the pattern. */
export function pattern(bytes: number): Buffer {
  const body = Buffer.allocUnsafe(bytes)
  for (let at = 0; at < bytes; at++) body[at] = at % PATTERN_PERIOD
  return body
}

/** Writes a body with back-pressure and ends the stream. */
class BodyWriter {
  readonly #stream: H2Stream
  readonly #body: Buffer
  #at = 0
  constructor(stream: H2Stream, body: Buffer) {
    this.#stream = stream
    this.#body = body
  }
  write(): void {
    while (this.#at < this.#body.length) {
      const end = Math.min(this.#at + CHUNK_BYTES, this.#body.length)
      const block = memoryBlock(HEADROOM + end - this.#at)
      this.#body.copy(block.bytes, HEADROOM, this.#at, end)
      this.#at = end
      if (!this.#stream.write(block, HEADROOM, block.bytes.length)) return
    }
    this.#stream.end()
  }
}

/** One exchange of the server. */
class Exchange implements ByteStreamHandler, HttpHeadersHandler {
  readonly trailers: HeaderList[] = []
  readonly #stream: H2Stream
  readonly #isEcho: boolean
  writer: BodyWriter | null = null
  onUploaded: () => void = () => {}
  constructor(stream: H2Stream, isEcho: boolean) {
    this.#stream = stream
    this.#isEcho = isEcho
    stream.headersHandler = this
    stream.setHandler(this)
  }
  onHeaders(_stream: HttpStream, headers: HeaderList): void {
    this.trailers.push(headers)
  }
  onData(block: Block, start: number, end: number): void {
    if (this.#isEcho && !this.#stream.write(block, start, end)) this.#stream.pause()
  }
  onEnd(): void {
    if (this.#isEcho) this.#stream.end()
    this.onUploaded()
  }
  onDrain(): void {
    if (this.#isEcho) this.#stream.resume()
    this.writer?.write()
  }
  onClose(): void {}
}

/** `/bytes/N`: N bytes of the pattern · `/headers/N`: N fields of 1,000 characters · others echo the body. */
export class PlainServer implements H2SessionHandler {
  readonly requests: HeaderList[] = []
  readonly exchanges: Exchange[] = []
  reason: CloseReason | null = null
  /** Called before a request is answered. */
  onRequest: (path: string) => void = () => {}

  onStream(stream: H2Stream, headers: HeaderList): void {
    const path = headers[headers.indexOf(':path') + 1] ?? ''
    const [, kind, count] = path.split('/')
    this.requests.push(headers)
    this.onRequest(path)
    const exchange = new Exchange(stream, kind === 'echo')
    this.exchanges.push(exchange)
    if (kind === 'bytes') {
      const body = pattern(Number(count))
      stream.sendHeaders(
        [':status', '200', 'content-length', String(body.length), 'x-repeated', 'the same'],
        false,
      )
      exchange.writer = new BodyWriter(stream, body)
      exchange.writer.write()
    } else if (kind === 'headers') {
      const fields = Array.from({ length: Number(count) }, (_, i) => [
        `x-large-${i}`,
        `${i}`.repeat(1000).slice(0, 1000),
      ])
      stream.sendHeaders([':status', '200', ...fields.flat()], true)
    } else stream.sendHeaders([':status', '200'], false)
  }
  onPeerSettings(): void {}
  onGoaway(): void {}
  onClose(reason: CloseReason): void {
    this.reason = reason
  }
}

/** One request of the client, and what came back. */
export class PlainRequest implements ByteStreamHandler, HttpHeadersHandler {
  readonly headers: HeaderList[] = []
  readonly #chunks: Buffer[] = []
  readonly #writer: BodyWriter | null
  reason: CloseReason | null = null
  isRefused = false

  /** Sends at once; `isRefused` when the session has no room for it. */
  constructor(session: H2Session, path: string, body: Buffer | null = null, extra: HeaderList = []) {
    const method = body === null ? 'GET' : 'POST'
    const fields = [':method', method, ':scheme', 'https', ':authority', 'peer', ':path', path, ...extra]
    const stream = session.openStream(fields, body === null)
    this.isRefused = isRefusal(stream)
    this.#writer = isRefusal(stream) || body === null ? null : new BodyWriter(stream, body)
    if (isRefusal(stream)) return
    stream.headersHandler = this
    stream.setHandler(this)
    this.#writer?.write()
  }
  get body(): Buffer {
    return Buffer.concat(this.#chunks)
  }
  get status(): string {
    const [first = []] = this.headers
    return first[first.indexOf(':status') + 1] ?? ''
  }
  onHeaders(_stream: HttpStream, headers: HeaderList): void {
    this.headers.push(headers)
  }
  onData(block: Block, start: number, end: number): void {
    this.#chunks.push(Buffer.from(block.bytes.subarray(start, end)))
  }
  onEnd(): void {}
  onDrain(): void {
    this.#writer?.write()
  }
  onClose(reason: CloseReason): void {
    this.reason = reason
  }
}
