// SPDX-License-Identifier: Apache-2.0
// A client and a server of one version of HTTP, joined in memory: what tests of both versions stand on.
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { H2Session } from '../../mesh/h2/session.ts'
import type { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { LocalSettings } from '../../mesh/h2/settings.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import type { HttpStream } from '../../mesh/http/http-stream.ts'
import { Http1ClientSession } from '../../mesh/http1/client-session.ts'
import { Http1ServerSession } from '../../mesh/http1/server-session.ts'
import type { ByteStream } from '../../mesh/reactor/byte-stream.ts'
import {
  createMemoryPair,
  type ManualScheduler,
  type MemoryPairOptions,
} from '../../mesh/reactor/memory-pair.ts'
import { RecordingHandler } from './byte-stream-contract.ts'
import { RecordingHttpHeaders } from './recording-headers.ts'

export type HttpVersion = 'h1' | 'h2'
export const HTTP_VERSIONS: readonly HttpVersion[] = ['h1', 'h2']

/** Windows so small that bodies have to wait. */
export const SMALL_WINDOWS: Partial<LocalSettings> = {
  streamWindowBytes: 20_000,
  connectionWindowBytes: 65_535,
}

/** Hears requests. Set the stream's handler before returning. */
export type OnRequest = (stream: HttpStream, headers: HeaderList, isEnd: boolean) => void

/** The server of a connection. */
export function serve(
  version: HttpVersion,
  transport: ByteStream,
  resources: SessionResources,
  onStream: OnRequest,
  local: Partial<LocalSettings> = {},
): void {
  if (version === 'h1') {
    const handler = { onStream, onRefused() {}, onClose() {} }
    new Http1ServerSession({ transport, resources, scheme: 'http', handler })
  } else {
    const handler = { onStream, onPeerSettings() {}, onGoaway() {}, onClose() {} }
    new H2Session({ role: 'server', transport, resources, handler, local })
  }
}

/** What opens streams. */
export interface HttpClient {
  /** @throws Error when it is refused */
  open(headers: HeaderList, isEnd: boolean): HttpStream
  /** Breaks the connection. */
  cut(): void
}

/** The client of a connection. */
export function client(
  version: HttpVersion,
  transport: ByteStream,
  resources: SessionResources,
  local: Partial<LocalSettings> = {},
): HttpClient {
  const unheard = { onStream() {}, onPeerSettings() {}, onGoaway() {}, onClose() {}, onIdle() {} }
  const session =
    version === 'h1'
      ? new Http1ClientSession({ transport, resources, handler: unheard })
      : new H2Session({ role: 'client', transport, resources, handler: unheard, local })
  return {
    open: (headers, isEnd) => {
      const stream = session.openStream(headers, isEnd)
      if (isRefusal(stream)) throw new Error(`${stream.code} ${stream.detail}`)
      return stream
    },
    cut: () => transport.destroy({ code: 'PEER_RESET', detail: 'cut' }),
  }
}

/** Both, joined; SETTINGS are exchanged. */
export function connectHttp(
  version: HttpVersion,
  scheduler: ManualScheduler,
  resources: SessionResources,
  onRequest: OnRequest,
  options: MemoryPairOptions & { local?: Partial<LocalSettings> } = {},
): HttpClient {
  const [near, far] = createMemoryPair(scheduler, options)
  const made = client(version, near, resources, options.local)
  serve(version, far, resources, onRequest, options.local)
  scheduler.runUntilIdle()
  return made
}

/** One end of an exchange, and all it was told. */
export class RecordedEnd {
  readonly stream: HttpStream
  /** What it came with; a client's is what it sent. */
  readonly headers: HeaderList
  readonly isEnd: boolean
  readonly body = new RecordingHandler()
  readonly said = new RecordingHttpHeaders()

  constructor(stream: HttpStream, headers: HeaderList, isEnd: boolean) {
    this.stream = stream
    this.headers = headers
    this.isEnd = isEnd
    stream.headersHandler = this.said
    stream.setHandler(this.body)
  }

  /** The code it was closed with, '' while it is not. */
  get code(): string {
    return this.body.reason?.code ?? ''
  }
}
