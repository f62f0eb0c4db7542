// SPDX-License-Identifier: Apache-2.0
// One HTTP/2 connection, client or server, on any ByteStream: the public face. Owns the transport and its handler.
// All callbacks happen within a reactor turn and never inside a call of the owner's. Spec: RFC 9113.
import { MeshError } from '../errors/mesh-error.ts'
import { type Refusal, refuse } from '../errors/refusal.ts'
import { type HeaderList, pseudoHeader } from '../http/header-list.ts'
import type { Block, ByteStream, ByteStreamHandler, CloseReason } from '../reactor/byte-stream.ts'
import { FrameReader } from './frame-reader.ts'
import { DEFAULT_WINDOW_BYTES } from './frames.ts'
import { HpackEncoder } from './hpack/encoder.ts'
import { InboundFrames } from './inbound-frames.ts'
import { H2_LIMITS } from './limits.ts'
import { sentRequest } from './request-form.ts'
import { type H2SessionHandler, SessionCore, type SessionState } from './session-core.ts'
import type { InboundBudget, SessionResources } from './session-resources.ts'
import { type LocalSettings, localSettings, type Role } from './settings.ts'
import { type H2Stream, STREAM } from './stream.ts'

/** What a session needs. */
export interface H2SessionOptions {
  readonly role: Role
  /** Owned by the session from now on. */
  readonly transport: ByteStream
  /** Shared by all sessions of the reactor. */
  readonly resources: SessionResources
  readonly handler: H2SessionHandler
  readonly local?: Partial<LocalSettings>
  /** Of the owner of the session: bytes received for its paused streams. */
  readonly budget?: InboundBudget
}

/** A connection. It ends by `drain` (graceful), `destroy`, the peer, or the transport; then onClose follows. */
export class H2Session {
  readonly #core: SessionCore

  constructor(options: H2SessionOptions) {
    const local = localSettings(options.role, options.local)
    if (local.connectionWindowBytes < DEFAULT_WINDOW_BYTES) {
      throw new MeshError('INTERNAL', { detail: 'HTTP/2 cannot announce a connection window below 65,535' })
    }
    const { role, transport, resources, handler, budget } = options
    this.#core = new SessionCore(role, transport, resources, local, handler, budget ?? null)
    options.transport.setHandler(new TransportHandler(this.#core))
    this.#core.start()
  }

  get role(): Role {
    return this.#core.role
  }
  get state(): SessionState {
    return this.#core.state
  }
  /** True when no stream can be opened any more. */
  get isDraining(): boolean {
    return this.#core.state !== 'open'
  }
  get openStreamCount(): number {
    return this.#core.streams.size
  }
  /** Infinity while the peer has named no limit. */
  get peerMaxConcurrentStreams(): number {
    return this.#core.peer.maxConcurrentStreams
  }
  /** When the last stream ended, or the session began; meaningful while openStreamCount is 0. */
  get idleSinceMs(): number {
    return this.#core.streams.idleSinceMs
  }
  /** Received bytes that wait for paused streams. */
  get bufferedInboundBytes(): number {
    return this.#core.bufferedInboundBytes
  }

  /** Client: sends a request, without an Upgrade. Answers come to `headersHandler`, which may be set after this call. */
  openStream(headers: HeaderList, isEnd = false): H2Stream | Refusal {
    const core = this.#core
    if (core.role !== 'client') throw new MeshError('INTERNAL', { detail: 'a server opens no streams' })
    if (core.state !== 'open') return refuse('DRAIN', 'the connection takes no new streams')
    if (core.streams.size >= core.peer.maxConcurrentStreams) {
      return refuse('LIMIT_CONNECTION', 'streams of one HTTP/2 connection')
    }
    const method = pseudoHeader(headers, ':method')
    const isTunnel = method === 'CONNECT'
    const sent = isTunnel ? { headers, isUpgradeDropped: false } : sentRequest(headers)
    const bytes = HpackEncoder.maxEncodedBytes(sent.headers)
    if (bytes > Math.min(H2_LIMITS.serverHeaderList.value * 2, core.peer.maxHeaderListBytes)) {
      return refuse('H2_HEADERS_TOO_LARGE', 'request')
    }
    const id = core.streams.takeLocalId()
    if (id === 0) {
      core.drain()
      return refuse('DRAIN', 'the stream ids of the connection are used up')
    }
    const stream = core.createStream(id)
    if (isTunnel) stream.bits |= STREAM.TUNNEL
    else if (method === 'HEAD') stream.bits |= STREAM.HEAD
    core.sendHeaders(stream, sent.headers, isEnd || sent.isUpgradeDropped)
    return stream
  }

  /** Sends PING; `callback` gets the round trip. False when too many are unanswered or the session is closed. */
  ping(callback: (roundTripMs: number) => void): boolean {
    return this.#core.sendPing(callback)
  }

  /** GOAWAY; open streams finish, then the connection closes with OK. */
  drain(): void {
    this.#core.drain()
  }

  /** GOAWAY with the reason's code; all streams end with `reason` at the end of the turn. */
  destroy(reason: CloseReason): void {
    this.#core.close(reason)
  }
}

/** Keeps the callbacks of the transport off the public face. */
class TransportHandler implements ByteStreamHandler {
  readonly #core: SessionCore
  readonly #reader: FrameReader

  constructor(core: SessionCore) {
    this.#core = core
    const inbound = new InboundFrames(core)
    const hasPreface = core.role === 'server'
    this.#reader = new FrameReader(inbound, hasPreface, core.local.maxFrameBytes, inbound.maxHeaderBlockBytes)
    core.onStop = () => this.#reader.stop()
  }

  onData(block: Block, start: number, end: number): void {
    this.#reader.read(block, start, end)
  }

  onEnd(): void {
    const isIdle = this.#core.streams.size === 0
    this.#core.close(isIdle ? { code: 'OK', detail: 'the peer closed the connection' } : CUT)
  }

  onDrain(): void {
    this.#core.writer.onDrain()
  }

  onClose(reason: CloseReason): void {
    this.#core.onTransportClosed(reason)
  }
}

const CUT: CloseReason = { code: 'TUNNEL_RESET', detail: 'the peer closed the connection with open streams' }
