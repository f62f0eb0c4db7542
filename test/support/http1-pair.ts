// SPDX-License-Identifier: Apache-2.0
// Sessions of HTTP/1.1 on the memory pair, with a raw far end that is read and written as text.
import { isRefusal, type Refusal } from '../../mesh/errors/refusal.ts'
import { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import { Http1ClientSession } from '../../mesh/http1/client-session.ts'
import { Http1ServerSession } from '../../mesh/http1/server-session.ts'
import type { Http1Stream } from '../../mesh/http1/stream.ts'
import type { CloseReason } from '../../mesh/reactor/byte-stream.ts'
import {
  createMemoryPair,
  ManualScheduler,
  type MemoryPairOptions,
  type MemoryStream,
  memoryBlock,
} from '../../mesh/reactor/memory-pair.ts'
import { RecordingHandler } from './byte-stream-contract.ts'
import { RecordingHttpHeaders } from './recording-headers.ts'

/** A request that a server got. */
export interface Received {
  readonly stream: Http1Stream
  readonly headers: HeaderList
  readonly isEnd: boolean
  readonly record: RecordingHandler
  readonly trailers: RecordingHttpHeaders
}

class RawEnd {
  readonly scheduler = new ManualScheduler()
  readonly near: MemoryStream
  readonly far: MemoryStream
  readonly record = new RecordingHandler()
  readonly resources: SessionResources
  reason: CloseReason | null = null

  constructor(options: MemoryPairOptions & { inboundLimitBytes?: number }) {
    ;[this.near, this.far] = createMemoryPair(this.scheduler, options)
    this.far.setHandler(this.record)
    this.resources = new SessionResources({
      scheduler: this.scheduler,
      allocateBlock: memoryBlock,
      inboundLimitBytes: options.inboundLimitBytes ?? 1 << 24,
    })
  }

  /** Sends text to the session under test, and lets everything happen. */
  send(text: string): void {
    this.push(text)
    this.scheduler.runUntilIdle()
  }

  /** Sends text without a turn. */
  push(text: string): void {
    const block = memoryBlock(text.length)
    block.bytes.write(text, 'latin1')
    this.far.write(block, 0, text.length)
  }

  end(): void {
    this.far.end()
    this.scheduler.runUntilIdle()
  }

  run(): void {
    this.scheduler.runUntilIdle()
  }

  /** What the session has sent since the last call. */
  take(): string {
    const text = this.record.text()
    this.record.chunks.length = 0
    return text
  }
}

/** A server session and a client that is text. */
export class ServerUnderTest extends RawEnd {
  readonly requests: Received[] = []
  readonly refused: Refusal[] = []
  readonly session: Http1ServerSession
  /** Called for each request, after its handler was set. */
  onRequest: (request: Received) => void = () => {}

  constructor(options: MemoryPairOptions & { inboundLimitBytes?: number; idleTimeoutMs?: number } = {}) {
    super(options)
    this.session = new Http1ServerSession({
      transport: this.near,
      resources: this.resources,
      scheme: 'http',
      ...(options.idleTimeoutMs === undefined ? {} : { idleTimeoutMs: options.idleTimeoutMs }),
      handler: {
        onStream: (stream, headers, isEnd) => {
          const record = new RecordingHandler()
          const trailers = new RecordingHttpHeaders()
          stream.headersHandler = trailers
          stream.setHandler(record)
          const request = { stream, headers, isEnd, record, trailers }
          this.requests.push(request)
          this.onRequest(request)
        },
        onRefused: (refusal) => this.refused.push(refusal),
        onClose: (reason) => {
          if (this.reason !== null) throw new Error('onClose twice')
          this.reason = reason
        },
      },
    })
  }

  /** The request of that index; it must have come. */
  request(index: number): Received {
    const request = this.requests[index]
    if (request === undefined) throw new Error(`no request ${index}`)
    return request
  }
}

/** A client session and a server that is text. */
export class ClientUnderTest extends RawEnd {
  readonly session: Http1ClientSession
  idleCount = 0

  constructor(options: MemoryPairOptions = {}) {
    super(options)
    this.session = new Http1ClientSession({
      transport: this.near,
      resources: this.resources,
      handler: {
        onIdle: () => void this.idleCount++,
        onClose: (reason) => {
          if (this.reason !== null) throw new Error('onClose twice')
          this.reason = reason
        },
      },
    })
  }

  open(headers: HeaderList = get('/'), isEnd = true): Omit<Received, 'isEnd' | 'headers'> {
    const stream = this.session.openStream(headers, isEnd)
    if (isRefusal(stream)) throw new Error(`${stream.code} ${stream.detail}`)
    const record = new RecordingHandler()
    const trailers = new RecordingHttpHeaders()
    stream.setHandler(record)
    stream.headersHandler = trailers
    return { stream, record, trailers }
  }
}

export function get(path: string, method = 'GET', ...fields: string[]): HeaderList {
  return [':method', method, ':scheme', 'http', ':authority', 'cart', ':path', path, ...fields]
}

export function answer(status: string, ...fields: string[]): HeaderList {
  return [':status', status, ...fields]
}
