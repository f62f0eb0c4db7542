// SPDX-License-Identifier: Apache-2.0
// Two HTTP/2 sessions on the memory pair, and a raw end that speaks frames by hand, for tests.
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { CLIENT_PREFACE, writeFrameHeader, writeSettings, writeSettingsAck } from '../../mesh/h2/frames.ts'
import { HpackDecoder } from '../../mesh/h2/hpack/decoder.ts'
import { HpackEncoder } from '../../mesh/h2/hpack/encoder.ts'
import { H2Session, type H2SessionOptions } from '../../mesh/h2/session.ts'
import type { H2SessionHandler } from '../../mesh/h2/session-core.ts'
import { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { H2Stream } from '../../mesh/h2/stream.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
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

export const CONNECT: HeaderList = [':method', 'CONNECT', ':authority', '10.0.0.7:8080']

/** Records what a session says; keeps accepted streams with a recording handler each. */
export class RecordingSession implements H2SessionHandler {
  readonly events: string[] = []
  readonly streams: H2Stream[] = []
  readonly records: RecordingHandler[] = []
  readonly requests: HeaderList[] = []
  reason: CloseReason | null = null
  /** Called for each accepted stream, after its handler was set. */
  onAccept: (stream: H2Stream, record: RecordingHandler) => void = (stream) =>
    stream.sendHeaders([':status', '200'], false)
  onStream(stream: H2Stream, headers: HeaderList, isEnd: boolean): void {
    this.events.push(`stream ${stream.id}${isEnd ? ' end' : ''}`)
    const record = new RecordingHandler()
    stream.setHandler(record)
    this.streams.push(stream)
    this.records.push(record)
    this.requests.push(headers)
    this.onAccept(stream, record)
  }
  onPeerSettings(): void {
    this.events.push('settings')
  }
  onGoaway(lastStreamId: number, errorCode: number): void {
    this.events.push(`goaway ${lastStreamId} ${errorCode}`)
  }
  onClose(reason: CloseReason): void {
    if (this.reason !== null) throw new Error('onClose twice')
    this.reason = reason
  }
}

export interface SessionPair {
  readonly scheduler: ManualScheduler
  readonly resources: SessionResources
  readonly client: H2Session
  readonly server: H2Session
  readonly clientSays: RecordingSession
  readonly serverSays: RecordingSession
  readonly transports: [MemoryStream, MemoryStream]
}

type Overrides = Partial<Pick<H2SessionOptions, 'local' | 'budget'>>

/** Two sessions that have exchanged their SETTINGS. */
export function connectSessions(
  options: MemoryPairOptions & { client?: Overrides; server?: Overrides; inboundLimitBytes?: number } = {},
): SessionPair {
  const scheduler = new ManualScheduler()
  const transports = createMemoryPair(scheduler, options)
  const resources = new SessionResources({
    scheduler,
    allocateBlock: memoryBlock,
    inboundLimitBytes: options.inboundLimitBytes ?? 1 << 26,
  })
  const clientSays = new RecordingSession()
  const serverSays = new RecordingSession()
  const client = new H2Session({
    role: 'client',
    transport: transports[0],
    resources,
    handler: clientSays,
    ...options.client,
  })
  const server = new H2Session({
    role: 'server',
    transport: transports[1],
    resources,
    handler: serverSays,
    ...options.server,
  })
  scheduler.runUntilIdle()
  return { scheduler, resources, client, server, clientSays, serverSays, transports }
}

/** Opens a stream with a recording handler. */
export function open(
  session: H2Session,
  headers: HeaderList = CONNECT,
): [H2Stream, RecordingHandler, RecordingHttpHeaders] {
  const stream = session.openStream(headers)
  if (isRefusal(stream)) throw new Error(stream.detail)
  const record = new RecordingHandler()
  const lists = new RecordingHttpHeaders()
  stream.setHandler(record)
  stream.headersHandler = lists
  return [stream, record, lists]
}

/** Writes text (one byte per character) with headroom, through a block scribbled over afterwards. */
export function send(stream: { write: H2Stream['write'] }, text: string | Buffer, headroom = 16): boolean {
  const bytes = typeof text === 'string' ? Buffer.from(text, 'latin1') : text
  const block = memoryBlock(headroom + bytes.length)
  bytes.copy(block.bytes, headroom)
  const isWritable = stream.write(block, headroom, headroom + bytes.length)
  block.bytes.fill(0x21)
  return isWritable
}

/** A frame a test sees or makes. */
export interface RawFrame {
  readonly type: number
  readonly flags: number
  readonly id: number
  readonly payload: Buffer
}

/** The far end of a session under test, speaking raw frames. */
export class RawPeer {
  readonly scheduler = new ManualScheduler()
  readonly says = new RecordingSession()
  readonly session: H2Session
  readonly resources: SessionResources
  readonly record = new RecordingHandler()
  readonly transport: MemoryStream
  readonly encoder = new HpackEncoder(4096)
  readonly decoder = new HpackDecoder({ tableBytes: 4096, listBytes: 65_536, fields: 256 })
  #seenBytes = 0

  /** `role` is the role of the session under test. */
  constructor(
    role: 'client' | 'server',
    options: Overrides & { pair?: MemoryPairOptions; isSilent?: boolean; inboundLimitBytes?: number } = {},
  ) {
    const [near, far] = createMemoryPair(this.scheduler, options.pair)
    this.transport = far
    this.resources = new SessionResources({
      scheduler: this.scheduler,
      allocateBlock: memoryBlock,
      inboundLimitBytes: options.inboundLimitBytes ?? 1 << 24,
    })
    far.setHandler(this.record)
    this.session = new H2Session({
      role,
      transport: near,
      resources: this.resources,
      handler: this.says,
      ...(options.local === undefined ? {} : { local: options.local }),
    })
    if (options.isSilent !== true) this.greet()
  }

  /** Preface (towards a server), SETTINGS, and the acknowledgement of theirs. */
  greet(settings: number[] = []): void {
    if (this.session.role === 'server') this.sendBytes(CLIENT_PREFACE)
    const bytes = Buffer.alloc(64 + settings.length * 3)
    this.sendBytes(bytes.subarray(0, writeSettings(bytes, 0, settings)))
    this.sendBytes(bytes.subarray(0, writeSettingsAck(bytes, 0)))
    this.scheduler.runUntilIdle()
    this.frames()
  }

  sendBytes(bytes: Buffer): void {
    this.transport.write({ bytes, address: 0 }, 0, bytes.length)
  }

  frame(type: number, flags: number, id: number, payload: Buffer | string = ''): void {
    const body = typeof payload === 'string' ? Buffer.from(payload.replaceAll(' ', ''), 'hex') : payload
    const bytes = Buffer.alloc(9 + body.length)
    writeFrameHeader(bytes, 0, body.length, type, flags, id)
    body.copy(bytes, 9)
    this.sendBytes(bytes)
  }

  headers(id: number, fields: HeaderList, flags = 0x4): void {
    this.frame(1, flags, id, this.block(fields))
  }

  block(fields: HeaderList): Buffer {
    const bytes = Buffer.alloc(HpackEncoder.maxEncodedBytes(fields))
    return bytes.subarray(0, this.encoder.encode(fields, bytes, 0))
  }

  run(): RawFrame[] {
    this.scheduler.runUntilIdle()
    return this.frames()
  }

  /** Complete frames received since the last call; the client's preface is skipped. */
  frames(): RawFrame[] {
    const all = Buffer.concat(this.record.chunks)
    if (this.#seenBytes === 0 && all.subarray(0, 3).toString() === 'PRI')
      this.#seenBytes = CLIENT_PREFACE.length
    const frames: RawFrame[] = []
    while (this.#seenBytes + 9 <= all.length) {
      const at = this.#seenBytes
      const end = at + 9 + all.readUIntBE(at, 3)
      if (end > all.length) break
      frames.push({
        type: all[at + 3] ?? 0,
        flags: all[at + 4] ?? 0,
        id: all.readUInt32BE(at + 5),
        payload: all.subarray(at + 9, end),
      })
      this.#seenBytes = end
    }
    return frames
  }
}

/** A server under test with small windows and stream 1 open. */
export function serverWithStream(chunkBytes = 262_144): RawPeer {
  const peer = new RawPeer('server', {
    pair: { chunkBytes },
    local: { maxFrameBytes: 16_384, streamWindowBytes: 65_535, connectionWindowBytes: 65_535 },
  })
  peer.headers(1, CONNECT)
  peer.run()
  return peer
}
