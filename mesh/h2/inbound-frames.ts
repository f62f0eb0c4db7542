// SPDX-License-Identifier: Apache-2.0
// What every received frame means for the session: RFC 9113 §5.1 (stream states) and §6 as code; what header blocks mean is in
// inbound-messages.ts. Bad frames end the
// stream or the connection with the code the RFC names; frames for streams we reset a moment ago are ignored.
import { H2_ERROR, type H2ErrorName, type ReasonCode } from '../errors/reasons.ts'
import { isRefusal, type Refusal } from '../errors/refusal.ts'
import type { Block } from '../reactor/byte-stream.ts'
import type { FrameSink } from './frame-reader.ts'
import {
  FLAG,
  FRAME,
  FRAME_HEADER_BYTES,
  MAX_WINDOW_BYTES,
  readUint31,
  readUint32,
  writePing,
  writeSettingsAck,
} from './frames.ts'
import { HeaderAssembler } from './header-assembler.ts'
import type { DecodedBlock } from './hpack/decoder.ts'
import { InboundMessages } from './inbound-messages.ts'
import { H2_LIMITS } from './limits.ts'
import type { SessionCore } from './session-core.ts'
import { type H2Stream, STREAM } from './stream.ts'

// as: the entries of a record whose keys are the names
const ERROR_NAMES = Object.keys(H2_ERROR) as readonly H2ErrorName[]

/** Name of an error code for people, in lower case; unknown codes as numbers. */
export function errorCodeName(code: number): string {
  return (ERROR_NAMES[code] ?? `code ${code}`).toLowerCase()
}

/** The sink of a session's frame reader. */
export class InboundFrames implements FrameSink {
  readonly #core: SessionCore
  readonly #headers: HeaderAssembler
  readonly #messages: InboundMessages
  /** Whose DATA is being read; null while it is ignored. */
  #dataStream: H2Stream | null = null
  #isFirstFrame = true

  constructor(core: SessionCore) {
    this.#core = core
    this.#headers = new HeaderAssembler(core.local.maxHeaderListBytes)
    this.#messages = new InboundMessages(core)
  }

  get maxHeaderBlockBytes(): number {
    return this.#headers.maxBlockBytes
  }

  onFramingError(code: ReasonCode, detail: string): void {
    this.#core.fail(code, detail)
  }

  onFrameStart(type: number, flags: number, streamId: number, length: number): void {
    const core = this.#core
    // SPEC RFC9113 §3.4: the preface is followed by SETTINGS, and that is no acknowledgement.
    if (this.#isFirstFrame) {
      if (type !== FRAME.SETTINGS || flags & FLAG.ACK) {
        core.fail('H2_PREFACE', 'the first frame is not SETTINGS')
        return
      }
      this.#isFirstFrame = false
    }
    // SPEC RFC9113 §6.10: nothing may come between the frames of a header block.
    const pendingId = this.#headers.pendingStreamId
    if (pendingId !== 0 && (type !== FRAME.CONTINUATION || streamId !== pendingId)) {
      core.fail('H2_PROTOCOL', 'a header block was interrupted')
      return
    }
    if (type === FRAME.DATA) this.#startData(flags, streamId, length)
    // SPEC RFC9113 §4.1: frames of unknown type are ignored; we also count them.
    else if (type > FRAME.CONTINUATION) core.chargeControl()
  }

  #startData(flags: number, streamId: number, length: number): void {
    const core = this.#core
    this.#dataStream = null
    if (length > core.receiveWindowBytes) {
      core.fail('H2_FLOW_CONTROL', 'connection window exceeded')
      return
    }
    core.receiveWindowBytes -= length
    if (length === 0 && (flags & FLAG.END_STREAM) === 0) core.chargeControl()
    if (core.isClosed) return
    const stream = core.streams.get(streamId)
    if (stream === null) {
      this.#onDataWithoutStream(streamId)
      return
    }
    // SPEC RFC9113 §5.1: DATA after END_STREAM is a stream error STREAM_CLOSED.
    if (stream.bits & STREAM.REMOTE_END) {
      core.failStream(stream, 'H2_STREAM_CLOSED', 'DATA after END_STREAM')
      return
    }
    if (core.role === 'client' && (stream.bits & STREAM.HEADERS_RECEIVED) === 0) {
      core.failStream(stream, 'H2_PROTOCOL', 'DATA before HEADERS')
      return
    }
    if (length > stream.receiveWindowBytes) {
      core.failStream(stream, 'H2_FLOW_CONTROL', 'stream window exceeded')
      return
    }
    stream.receiveWindowBytes -= length
    this.#dataStream = stream
  }

  #onDataWithoutStream(streamId: number): void {
    const core = this.#core
    if (streamId === 0 || core.streams.isIdle(streamId)) {
      core.fail('H2_PROTOCOL', `DATA on stream ${streamId}, which is idle`)
      return
    }
    if (core.streams.wasReset(streamId)) return
    core.resetId(streamId, 'STREAM_CLOSED')
    core.chargeReset()
  }

  onDataPiece(block: Block, start: number, end: number): void {
    this.#core.creditConnection(end - start)
    const stream = this.#dataStream
    if (stream === null || stream.bits & STREAM.CLOSED) return
    if (stream.expectedBytes >= 0 && !this.#messages.countBody(stream, end - start)) return
    if (!stream.receive(block, start, end)) this.#core.resetForRoom(stream, end - start)
  }

  onDataPadding(bytes: number): void {
    this.#core.creditConnection(bytes)
    if (this.#dataStream !== null) this.#dataStream.uncreditedBytes += bytes
  }

  onDataEnd(flags: number): void {
    const stream = this.#dataStream
    this.#dataStream = null
    if (stream === null || (flags & FLAG.END_STREAM) === 0) return
    this.#messages.endRemote(stream)
  }

  onFrame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    switch (type) {
      case FRAME.HEADERS:
        if (streamId === 0) {
          this.#core.fail('H2_PROTOCOL', 'HEADERS on stream 0')
          return
        }
        this.#onBlock(streamId, this.#headers.onHeaders(flags, streamId, bytes, start, end))
        return
      case FRAME.CONTINUATION:
        this.#onBlock(streamId, this.#headers.onContinuation(flags, bytes, start, end))
        return
      case FRAME.PRIORITY:
        this.#onPriority(streamId, bytes, start)
        return
      case FRAME.RST_STREAM:
        this.#onReset(streamId, readUint32(bytes, start))
        return
      case FRAME.SETTINGS:
        if (streamId !== 0) {
          this.#core.fail('H2_PROTOCOL', 'SETTINGS on a stream')
          return
        }
        this.#onSettings(flags, bytes, start, end)
        return
      case FRAME.PING:
        if (streamId !== 0) {
          this.#core.fail('H2_PROTOCOL', 'PING on a stream')
          return
        }
        this.#onPing(flags, readUint32(bytes, start), readUint32(bytes, start + 4))
        return
      case FRAME.GOAWAY:
        if (streamId !== 0) {
          this.#core.fail('H2_PROTOCOL', 'GOAWAY on a stream')
          return
        }
        this.#onGoaway(bytes, start, end)
        return
      case FRAME.WINDOW_UPDATE:
        this.#onWindowUpdate(streamId, readUint31(bytes, start))
        return
      default:
        // SPEC RFC9113 §8.4: a client that disabled push, and every server, treats PUSH_PROMISE as an error.
        this.#core.fail('H2_PROTOCOL', 'PUSH_PROMISE')
        return
    }
  }

  #onBlock(streamId: number, block: DecodedBlock | Refusal | null): void {
    const core = this.#core
    if (block === null) return
    if (isRefusal(block)) {
      core.fail(block.code, block.detail)
      return
    }
    const isEnd = this.#headers.isEndStream
    const stream = core.streams.get(streamId)
    if (stream === null) this.#onNewStream(streamId, block, isEnd)
    else this.#messages.onBlock(stream, block, isEnd)
  }

  #onNewStream(streamId: number, block: DecodedBlock, isEnd: boolean): void {
    const core = this.#core
    if (!core.streams.isIdle(streamId)) {
      if (core.streams.wasReset(streamId)) {
        core.chargeControl()
        return
      }
      core.fail('H2_STREAM_CLOSED', `HEADERS on stream ${streamId}, which is closed`)
      return
    }
    // SPEC RFC9113 §5.1.1: clients use odd ids; servers open none, because push is off.
    if (core.role === 'client' || streamId % 2 === 0) {
      core.fail('H2_PROTOCOL', `stream id ${streamId}`)
      return
    }
    core.streams.lastPeerId = streamId
    if (streamId > core.acceptLimitId || core.streams.size >= core.local.maxConcurrentStreams) {
      core.resetId(streamId, 'REFUSED_STREAM')
      core.chargeReset()
      return
    }
    this.#messages.onRequest(core.createStream(streamId), block, isEnd, this.#headers.dependsOnItself)
  }

  #onPriority(streamId: number, bytes: Buffer, start: number): void {
    const core = this.#core
    if (streamId === 0) {
      core.fail('H2_PROTOCOL', 'PRIORITY on stream 0')
      return
    }
    if (readUint31(bytes, start) === streamId) {
      const stream = core.streams.get(streamId)
      if (stream !== null) core.failStream(stream, 'H2_PROTOCOL', 'a stream depends on itself')
      else core.resetId(streamId, 'PROTOCOL_ERROR')
    }
    core.chargeControl()
  }

  #onReset(streamId: number, errorCode: number): void {
    const core = this.#core
    const stream = core.streams.get(streamId)
    if (stream === null) {
      const isIdle = streamId === 0 || core.streams.isIdle(streamId)
      if (isIdle) core.fail('H2_PROTOCOL', 'RST_STREAM on an idle stream')
      else if (!core.streams.forgetReset(streamId)) core.chargeControl()
      return
    }
    // Rapid reset: a request that is withdrawn before it is answered has cost us everything and the peer nothing.
    const isEarly = core.role === 'server' && (stream.bits & STREAM.HEADERS_SENT) === 0
    const isSoft = errorCode === H2_ERROR.NO_ERROR || errorCode === H2_ERROR.CANCEL
    // After END_STREAM nothing is missing. Before it something is: read as an end, as others do (SPEC HBONE §3.4), half an
    // answer would look like a whole one.
    const isOrderly = isSoft && (stream.bits & STREAM.REMOTE_END) !== 0
    const code = errorCode === H2_ERROR.REFUSED_STREAM ? 'TUNNEL_REFUSED' : 'STREAM_RESET'
    core.closeByPeer(stream, { code, detail: isSoft ? 'cancel' : errorCodeName(errorCode) }, isOrderly)
    if (isEarly) core.chargeReset()
  }

  #onSettings(flags: number, bytes: Buffer, start: number, end: number): void {
    const core = this.#core
    core.chargeControl()
    if (core.isClosed) return
    if (flags & FLAG.ACK) {
      core.noteHandshake(true)
      return
    }
    const windowBytes = core.peer.initialWindowBytes
    const refusal = core.peer.apply(core.role === 'client' ? 'server' : 'client', bytes, start, end)
    if (refusal !== null) {
      core.fail(refusal.code, refusal.detail)
      return
    }
    core.writer.peerMaxFrameBytes = core.peer.maxFrameBytes
    // SPEC RFC7541 §4.2: of several changes between two header blocks the smallest is announced as well.
    if (core.peer.lowestHeaderTableBytes < core.peer.headerTableBytes) {
      core.encoder.setPeerTableBytes(core.peer.lowestHeaderTableBytes)
    }
    core.encoder.setPeerTableBytes(core.peer.headerTableBytes)
    core.writer.commit(writeSettingsAck(core.writer.staging, core.writer.reserve(FRAME_HEADER_BYTES)))
    const delta = core.peer.initialWindowBytes - windowBytes
    if (delta !== 0 && !this.#shiftWindows(delta)) return
    core.noteHandshake(false)
    core.handler.onPeerSettings(core.peer)
  }

  /** SPEC RFC9113 §6.9.2: a new INITIAL_WINDOW_SIZE changes the windows of all open streams. */
  #shiftWindows(delta: number): boolean {
    const core = this.#core
    for (const stream of core.streams.all()) {
      stream.sendWindowBytes += delta
      if (stream.sendWindowBytes > MAX_WINDOW_BYTES) {
        core.fail('H2_FLOW_CONTROL', 'a stream window exceeds 2^31−1')
        return false
      }
      if (delta > 0 && stream.outbound !== null) core.writer.addPending(stream)
    }
    core.writer.flushPending()
    return true
  }

  #onPing(flags: number, high: number, low: number): void {
    const core = this.#core
    if (flags & FLAG.ACK) {
      if (!core.pings.acknowledge(high, low, core.nowMs)) core.chargeControl()
      return
    }
    core.chargeControl()
    if (core.isClosed) return
    core.writer.commit(
      writePing(core.writer.staging, core.writer.reserve(FRAME_HEADER_BYTES + 8), true, high, low),
    )
  }

  #onGoaway(bytes: Buffer, start: number, end: number): void {
    const core = this.#core
    core.chargeControl()
    if (core.isClosed) return
    const lastStreamId = readUint31(bytes, start)
    const errorCode = readUint32(bytes, start + 4)
    const debugEnd = Math.min(end, start + 8 + H2_LIMITS.goawayDebug.value / 64)
    const debug = bytes.toString('latin1', start + 8, debugEnd)
    core.handler.onGoaway(lastStreamId, errorCode, debug)
    core.drainByPeer(lastStreamId, errorCode !== H2_ERROR.NO_ERROR)
  }

  #onWindowUpdate(streamId: number, increment: number): void {
    const core = this.#core
    if (!core.guard.takeWindowUpdate(core.nowMs)) {
      core.fail('H2_FLOOD', 'too many WINDOW_UPDATE frames')
      return
    }
    if (streamId === 0) {
      if (increment === 0) {
        core.fail('H2_PROTOCOL', 'WINDOW_UPDATE of 0')
        return
      }
      core.writer.sendWindowBytes += increment
      // SPEC RFC9113 §6.9.1: a window above 2^31−1 is a FLOW_CONTROL_ERROR.
      if (core.writer.sendWindowBytes > MAX_WINDOW_BYTES) core.fail('H2_FLOW_CONTROL', 'connection window')
      else core.writer.flushPending()
      return
    }
    const stream = core.streams.get(streamId)
    if (stream === null) {
      if (core.streams.isIdle(streamId)) core.fail('H2_PROTOCOL', 'WINDOW_UPDATE on an idle stream')
      return
    }
    if (increment === 0) {
      core.failStream(stream, 'H2_PROTOCOL', 'WINDOW_UPDATE of 0')
      return
    }
    stream.sendWindowBytes += increment
    if (stream.sendWindowBytes > MAX_WINDOW_BYTES) {
      core.failStream(stream, 'H2_FLOW_CONTROL', 'stream window')
      return
    }
    if (stream.outbound === null) return
    core.writer.addPending(stream)
    core.writer.flushPending()
  }
}
