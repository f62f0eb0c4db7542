// SPDX-License-Identifier: Apache-2.0
// The inside of an HTTP/2 session that frames and streams work on: books, outgoing control frames, and the ways a
// stream or the whole connection ends. Used by session.ts (the public face) and inbound-frames.ts only.
import { MeshError } from '../errors/mesh-error.ts'
import { H2_ERROR, type H2ErrorName, REASONS, type ReasonCode } from '../errors/reasons.ts'
import { type HeaderList, isInterim } from '../http/header-list.ts'
import { type Block, type ByteStream, CLOSED_OK, type CloseReason } from '../reactor/byte-stream.ts'
import type { Timer, TurnTask } from '../reactor/scheduler.ts'
import { ByteQueue } from './byte-queue.ts'
import { FloodGuard } from './flood-guard.ts'
import { FrameWriter } from './frame-writer.ts'
import {
  CLIENT_PREFACE,
  DEFAULT_WINDOW_BYTES,
  FLAG,
  FRAME,
  FRAME_HEADER_BYTES,
  MAX_STREAM_ID,
  writeFrameHeader,
  writeGoaway,
  writePing,
  writeRstStream,
  writeSettings,
  writeWindowUpdate,
} from './frames.ts'
import { HpackEncoder } from './hpack/encoder.ts'
import { H2_LIMITS } from './limits.ts'
import { PING_MARK, PingTracker } from './ping-tracker.ts'
import type { InboundBudget, SessionResources } from './session-resources.ts'
import { type LocalSettings, PeerSettings, type Role, settingsToSend } from './settings.ts'
import { H2Stream, STREAM, type StreamOwner } from './stream.ts'
import { StreamTable } from './stream-table.ts'

/** open → draining → closed; a failure jumps to closed. */
export type SessionState = 'open' | 'draining' | 'closed'

/** What a session tells its owner. */
export interface H2SessionHandler {
  /** Server: a well-formed request. Set the stream's handler before returning, or bytes wait in memory. */
  onStream(stream: H2Stream, headers: HeaderList, isEnd: boolean): void
  /** The peer's SETTINGS arrived (first and later ones). */
  onPeerSettings(settings: Readonly<PeerSettings>): void
  /** The peer takes no new streams; those above `lastStreamId` were never processed and are closed already. */
  onGoaway(lastStreamId: number, errorCode: number, debug: string): void
  /** Exactly once and last, after onClose of all streams that have a handler. */
  onClose(reason: CloseReason): void
}

/** Header blocks are encoded here: one per isolate, larger than any list a peer of ours accepts. */
const headerScratch = Buffer.allocUnsafeSlow(H2_LIMITS.serverHeaderList.value * 2)
/** Header frames are cut to this, so that they fit the staging block. */
const HEADER_FRAME_BYTES = 16_384
const MAX_DEBUG_CHARS = 96
/** What writes control frames must be able to reserve at most: a GOAWAY with its text. */
const GOAWAY_BYTES = FRAME_HEADER_BYTES + 8 + MAX_DEBUG_CHARS

/** See the file's head. Fields are shared with inbound-frames.ts. */
export class SessionCore implements StreamOwner, TurnTask {
  isAtTurnEnd = false
  readonly role: Role
  readonly transport: ByteStream
  readonly resources: SessionResources
  readonly budget: InboundBudget | null
  readonly local: LocalSettings
  readonly handler: H2SessionHandler
  readonly peer = new PeerSettings()
  readonly guard: FloodGuard
  readonly writer: FrameWriter
  readonly streams: StreamTable
  readonly encoder = new HpackEncoder(H2_LIMITS.headerTable.value)
  readonly pings = new PingTracker()
  readonly lowWaterBytes = H2_LIMITS.streamLowWater.value
  state: SessionState = 'open'
  /** Received bytes that wait for paused streams. */
  bufferedInboundBytes = 0
  /** Bytes the peer may still send on the connection. */
  receiveWindowBytes: number
  #uncreditedBytes = 0
  /** Streams above are refused once a drain is final. */
  acceptLimitId = MAX_STREAM_ID
  /** The frame reader's stop. */
  onStop: (() => void) | null = null
  #deferred: H2Stream[] = []
  #closeReason: CloseReason | null = null
  #isCloseTold = false
  #isTransportClosed = false
  #timer: Timer | null = null
  #hasPeerSettings = false
  #hasSettingsAck = false

  constructor(
    role: Role,
    transport: ByteStream,
    resources: SessionResources,
    local: LocalSettings,
    handler: H2SessionHandler,
    budget: InboundBudget | null = null,
  ) {
    this.role = role
    this.transport = transport
    this.resources = resources
    this.budget = budget
    this.local = local
    this.handler = handler
    this.guard = new FloodGuard(resources.scheduler.nowMs)
    this.writer = new FrameWriter(transport, resources, this, this.guard)
    this.streams = new StreamTable(role, resources.scheduler.nowMs)
    this.receiveWindowBytes = local.connectionWindowBytes
  }

  get isCongested(): boolean {
    return this.writer.isCongested
  }
  get isClosed(): boolean {
    return this.state === 'closed'
  }
  get nowMs(): number {
    return this.resources.scheduler.nowMs
  }

  /** Sends preface, SETTINGS and the connection window; starts the clock of the handshake. */
  start(): void {
    const settings = settingsToSend(this.role, this.local)
    const bytes = CLIENT_PREFACE.length + FRAME_HEADER_BYTES * 2 + settings.length * 3 + 4
    let at = this.writer.reserve(bytes)
    if (this.role === 'client') at += CLIENT_PREFACE.copy(this.writer.staging, at)
    at = writeSettings(this.writer.staging, at, settings)
    const increment = this.local.connectionWindowBytes - DEFAULT_WINDOW_BYTES
    if (increment > 0) at = writeWindowUpdate(this.writer.staging, at, 0, increment)
    this.writer.commit(at)
    this.#timer = this.resources.scheduler.startTimer(H2_LIMITS.prefaceTimeout.value, () => {
      if (this.#hasPeerSettings) this.fail('H2_SETTINGS_TIMEOUT', 'SETTINGS were not acknowledged')
      else this.fail('H2_PREFACE', 'no SETTINGS in time')
    })
  }

  /** The peer's SETTINGS, or its acknowledgement of ours, arrived. */
  noteHandshake(isAck: boolean): void {
    if (isAck) this.#hasSettingsAck = true
    else this.#hasPeerSettings = true
    if (!this.#hasPeerSettings || !this.#hasSettingsAck || this.state !== 'open') return
    this.#timer?.cancel()
    this.#timer = null
  }

  // ---- StreamOwner

  writeData(stream: H2Stream, block: Block, start: number, end: number): boolean {
    return this.writer.write(stream, block, start, end)
  }

  endStream(stream: H2Stream): void {
    this.writer.end(stream)
  }

  onLocalEndSent(stream: H2Stream): void {
    stream.bits |= STREAM.LOCAL_END_SENT
    this.closeIfEnded(stream)
    if (this.role === 'client' || stream.bits & (STREAM.CLOSED | STREAM.TUNNEL)) return
    // SPEC RFC9113 §8.1: the answer is complete, so whatever the client still sends is nobody's.
    this.resetId(stream.id, 'NO_ERROR')
    stream.dropInbound()
    this.#retire(stream, CLOSED_OK)
  }

  resetStream(stream: H2Stream, reason: CloseReason): void {
    if (stream.bits & STREAM.CLOSED) return
    this.resetId(stream.id, REASONS[reason.code].h2Reset)
    this.abort(stream, reason)
  }

  sendHeaders(stream: H2Stream, headers: HeaderList, isEnd: boolean): void {
    if (this.isClosed) return
    if (stream.bits & STREAM.HEADERS_SENT) {
      if (!isEnd) throw new MeshError('INTERNAL', { detail: 'a message has one head' })
      stream.bits |= STREAM.LOCAL_END_ASKED
      if (stream.outbound !== null) stream.outbound.keepTrailers(headers)
      else this.sendTrailers(stream, headers)
      return
    }
    if (this.role === 'server') {
      if (isInterim(headers)) {
        this.#sendBlock(stream, headers, false)
        return
      }
      const status = headers[1]
      if (status === '101') {
        this.resetStream(stream, { code: 'UPSTREAM_PROTOCOL', detail: 'HTTP/2 changes to no other protocol' })
        return
      }
      if (stream.bits & STREAM.HEAD || status === '204' || status === '304') stream.bits |= STREAM.BODILESS
    }
    stream.bits |= STREAM.HEADERS_SENT
    if (!this.#sendBlock(stream, headers, isEnd) || !isEnd) return
    stream.bits |= STREAM.LOCAL_END_ASKED
    this.onLocalEndSent(stream)
  }

  sendTrailers(stream: H2Stream, trailers: HeaderList): void {
    // SPEC RFC9113 §8.1: what has no field ends the stream as DATA does.
    if (trailers.length === 0) this.writer.end(stream)
    else if (this.#sendBlock(stream, trailers, true)) this.onLocalEndSent(stream)
  }

  defer(stream: H2Stream): void {
    if (stream.bits & STREAM.DEFERRED) return
    stream.bits |= STREAM.DEFERRED
    this.#deferred.push(stream)
    this.resources.scheduler.atTurnEnd(this)
  }

  hasInboundRoom(bytes: number): boolean {
    if (!this.hasBudgetFor(bytes)) return false
    return this.resources.inboundUsedBytes + bytes <= this.resources.inboundLimitBytes
  }

  /** False when it is the session's owner who has too much, and not the worker. */
  hasBudgetFor(bytes: number): boolean {
    return this.budget === null || this.budget.usedBytes + bytes <= this.budget.limitBytes
  }

  createInboundQueue(): ByteQueue {
    return new ByteQueue(this.resources, true, this.budget)
  }

  noteInbound(bytes: number): void {
    this.bufferedInboundBytes += bytes
  }

  awaitTransport(stream: H2Stream): void {
    this.writer.addPending(stream)
  }

  /** Gives the delivered bytes of a stream back to the peer once they are a quarter of its window. */
  credit(stream: H2Stream): void {
    const bytes = stream.uncreditedBytes
    if (bytes * 4 < this.local.streamWindowBytes || stream.bits & (STREAM.REMOTE_END | STREAM.CLOSED)) return
    stream.uncreditedBytes = 0
    stream.receiveWindowBytes += bytes
    this.writer.commit(
      writeWindowUpdate(this.writer.staging, this.writer.reserve(FRAME_HEADER_BYTES + 4), stream.id, bytes),
    )
  }

  /** Bytes of a DATA frame arrived: the connection window is given back whoever they are for. */
  creditConnection(bytes: number): void {
    this.#uncreditedBytes += bytes
    if (this.#uncreditedBytes * 4 < this.local.connectionWindowBytes) return
    this.receiveWindowBytes += this.#uncreditedBytes
    const at = this.writer.reserve(FRAME_HEADER_BYTES + 4)
    this.writer.commit(writeWindowUpdate(this.writer.staging, at, 0, this.#uncreditedBytes))
    this.#uncreditedBytes = 0
  }

  // ---- streams

  createStream(id: number): H2Stream {
    const stream = new H2Stream(this, id, this.peer.initialWindowBytes, this.local.streamWindowBytes)
    this.streams.add(stream)
    return stream
  }

  /** Both halves are over: the stream leaves the wire, its owner is told at the end of the turn. */
  closeIfEnded(stream: H2Stream): void {
    const both = STREAM.LOCAL_END_SENT | STREAM.REMOTE_END
    if (stream.bits & STREAM.CLOSED || (stream.bits & both) !== both) return
    this.#retire(stream, CLOSED_OK)
  }

  /** The peer reset a stream. `isOrderly`: it had ended its half, bytes that wait are still delivered. */
  closeByPeer(stream: H2Stream, reason: CloseReason, isOrderly: boolean): void {
    if (!isOrderly) {
      this.abort(stream, reason)
      return
    }
    stream.dropOutbound()
    this.#retire(stream, reason)
  }

  /** Ends a stream by force, without telling the peer. */
  abort(stream: H2Stream, reason: CloseReason): void {
    if (stream.bits & STREAM.CLOSED) return
    stream.bits |= STREAM.ABORTED
    stream.dropInbound()
    stream.dropOutbound()
    this.#retire(stream, reason)
  }

  /** The peer broke the rules of one stream: RST_STREAM, and a token of the reset bucket. */
  failStream(stream: H2Stream, code: ReasonCode, detail: string): void {
    this.resetStream(stream, { code, detail })
    this.chargeReset()
  }

  /** `bytes` came for a stream that waits, and there is no room for them. */
  resetForRoom(stream: H2Stream, bytes: number): void {
    const code = this.hasBudgetFor(bytes) ? 'LIMIT_NODE' : 'LIMIT_POD'
    this.resetStream(stream, { code, detail: 'received bytes wait for too many paused streams' })
  }

  /** RST_STREAM for an id, whether or not a stream exists. */
  resetId(id: number, error: H2ErrorName): void {
    if (this.isClosed) return
    this.streams.noteReset(id)
    const at = this.writer.reserve(FRAME_HEADER_BYTES + 4)
    this.writer.commit(writeRstStream(this.writer.staging, at, id, H2_ERROR[error]))
  }

  chargeReset(): void {
    if (!this.guard.takeReset(this.nowMs)) this.fail('H2_FLOOD', 'too many reset streams')
  }

  chargeControl(): void {
    if (!this.guard.takeControl(this.nowMs)) this.fail('H2_FLOOD', 'too many control frames')
    else if (this.writer.backlogBytes > H2_LIMITS.controlBacklog.value) {
      this.fail('H2_FLOOD', 'the peer does not read what it asks for')
    }
  }

  sendPing(callback: (roundTripMs: number) => void): boolean {
    const id = this.isClosed ? -1 : this.pings.start(this.nowMs, callback)
    if (id < 0) return false
    const at = this.writer.reserve(FRAME_HEADER_BYTES + 8)
    this.writer.commit(writePing(this.writer.staging, at, false, PING_MARK, id))
    return true
  }

  // ---- the end of the connection

  /** The peer broke the protocol: GOAWAY with the code of the reason. */
  fail(code: ReasonCode, detail: string): void {
    this.close({ code, detail })
  }

  /** Announces the end; open streams go on. */
  drain(): void {
    if (this.state !== 'open') return
    this.state = 'draining'
    this.#timer?.cancel()
    this.#timer = null
    if (this.role === 'client') {
      this.#sendGoaway(0, 'NO_ERROR', '')
      this.#finishIfDrained()
      return
    }
    // SPEC RFC9113 §6.8: first a GOAWAY that refuses nothing; after a round trip the one that counts.
    this.#sendGoaway(MAX_STREAM_ID, 'NO_ERROR', '')
    const finish = () => this.#finishAnnouncement()
    this.#timer = this.resources.scheduler.startTimer(H2_LIMITS.drainAnnouncement.value, finish)
    if (!this.sendPing(finish)) finish()
  }

  /** The peer sent GOAWAY: no stream is opened any more; those it did not process are over. */
  drainByPeer(lastStreamId: number, isError: boolean): void {
    if (this.state === 'open') {
      this.state = 'draining'
      this.#timer?.cancel()
      this.#timer = null
    }
    for (const stream of this.streams.all()) {
      const isOurs = stream.id % 2 === (this.role === 'client' ? 1 : 0)
      if (!isOurs || stream.id <= lastStreamId) continue
      this.abort(stream, { code: isError ? 'TUNNEL_RESET' : 'DRAIN', detail: 'not processed: GOAWAY' })
    }
    this.#finishIfDrained()
  }

  /** Ends everything now. `OK` and `DRAIN` are orderly. */
  close(reason: CloseReason): void {
    if (this.state === 'closed') return
    const wasDraining = this.state === 'draining'
    if (!this.#isTransportClosed && !(wasDraining && reason.code === 'OK')) {
      this.#sendGoaway(this.streams.lastPeerId, goawayErrorOf(reason), reason.detail)
    }
    this.state = 'closed'
    this.#closeReason = reason
    this.onStop?.()
    this.#timer?.cancel()
    this.pings.clear()
    for (const stream of this.streams.all()) this.abort(stream, reason)
    this.writer.close()
    this.resources.scheduler.atTurnEnd(this)
    if (this.#isTransportClosed) return
    this.transport.end()
    const cut = () => this.transport.destroy(reason)
    this.#timer = this.resources.scheduler.startTimer(H2_LIMITS.linger.value, cut)
  }

  onTransportClosed(reason: CloseReason): void {
    this.#isTransportClosed = true
    this.#timer?.cancel()
    if (reason.code !== 'OK') {
      this.close(reason)
      return
    }
    this.close(this.streams.size === 0 ? CLOSED_OK : { code: 'TUNNEL_RESET', detail: 'the connection ended' })
  }

  runAtTurnEnd(): void {
    const deferred = this.#deferred
    if (deferred.length > 0) {
      this.#deferred = []
      for (const stream of deferred) stream.runDeferred()
    }
    if (this.#closeReason === null || this.#isCloseTold) return
    if (this.#deferred.length > 0) {
      this.resources.scheduler.atTurnEnd(this)
      return
    }
    this.#isCloseTold = true
    this.handler.onClose(this.#closeReason)
  }

  #retire(stream: H2Stream, reason: CloseReason): void {
    stream.bits |= STREAM.CLOSED
    stream.closeReason = reason
    this.streams.remove(stream, this.nowMs)
    this.defer(stream)
    this.#finishIfDrained()
  }

  #finishAnnouncement(): void {
    if (this.state !== 'draining' || this.acceptLimitId !== MAX_STREAM_ID) return
    this.#timer?.cancel()
    this.#timer = null
    this.acceptLimitId = this.streams.lastPeerId
    this.#sendGoaway(this.acceptLimitId, 'NO_ERROR', '')
    this.#finishIfDrained()
  }

  #finishIfDrained(): void {
    const isAnnouncing = this.role === 'server' && this.#timer !== null
    if (this.state === 'draining' && this.streams.size === 0 && !isAnnouncing) this.close(CLOSED_OK)
  }

  #sendGoaway(lastStreamId: number, error: H2ErrorName, detail: string): void {
    const debug = detail.slice(0, MAX_DEBUG_CHARS)
    const at = this.writer.reserve(GOAWAY_BYTES)
    this.writer.commit(writeGoaway(this.writer.staging, at, lastStreamId, H2_ERROR[error], debug))
  }

  /** False when the list is too large for any peer: the stream is reset then. */
  #sendBlock(stream: H2Stream, headers: HeaderList, isEnd: boolean): boolean {
    if (HpackEncoder.maxEncodedBytes(headers) > headerScratch.length) {
      this.resetStream(stream, { code: 'H2_HEADERS_TOO_LARGE', detail: 'a list to be sent' })
      return false
    }
    this.#sendHeaderBlock(stream.id, this.encoder.encode(headers, headerScratch, 0), isEnd)
    return true
  }

  #sendHeaderBlock(streamId: number, bytes: number, isEnd: boolean): void {
    const limit = Math.min(HEADER_FRAME_BYTES, this.peer.maxFrameBytes)
    let type: number = FRAME.HEADERS
    let flags = isEnd ? FLAG.END_STREAM : 0
    let from = 0
    do {
      const part = Math.min(bytes - from, limit)
      if (from + part === bytes) flags |= FLAG.END_HEADERS
      const at = this.writer.reserve(FRAME_HEADER_BYTES + part)
      const payload = writeFrameHeader(this.writer.staging, at, part, type, flags, streamId)
      headerScratch.copy(this.writer.staging, payload, from, from + part)
      this.writer.commit(payload + part)
      type = FRAME.CONTINUATION
      flags = 0
      from += part
    } while (from < bytes)
  }
}

/** A connection that ends for a reason that is no fault of HTTP/2 ends with NO_ERROR: the others name streams. */
function goawayErrorOf(reason: CloseReason): H2ErrorName {
  const name = REASONS[reason.code].h2Reset
  return name === 'CANCEL' || name === 'CONNECT_ERROR' || name === 'REFUSED_STREAM' ? 'NO_ERROR' : name
}
