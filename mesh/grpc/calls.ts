// SPDX-License-Identifier: Apache-2.0
// gRPC methods and calls as the product sees them, and how they sit on @grpc/grpc-js. A handler answers with bytes or
// throws; a MeshError becomes the gRPC status of its reason, anything else INTERNAL without a word about why.
import {
  type handleBidiStreamingCall,
  type handleUnaryCall,
  type Metadata,
  type MethodDefinition,
  type ServerDuplexStream,
  type ServerUnaryCall,
  status,
} from '@grpc/grpc-js'
import { MeshError } from '../errors/mesh-error.ts'
import { REASONS } from '../errors/reasons.ts'
import type { Clock } from '../runtime/clock.ts'

/** Unsent bytes of a stream from which write() says false: one coalesced push of a few thousand resources. */
export const STREAM_HIGH_WATER_BYTES = 1_048_576
/** Longest text of a status: it may quote what a client sent. */
const MAX_STATUS_LENGTH = 1_024

/** Headers of a call. */
export interface CallMetadata {
  /** The first value of an ASCII header, by lower-case name. */
  get(name: string): string | undefined
}

/** Who is at the other end. */
export interface CallPeer {
  /** `address:port`, for people. */
  readonly address: string
  /** DER of the client's certificate, if it verified against the client roots now in force at its handshake. */
  readonly certificateDer: Buffer | undefined
}

/** What every call has. */
export interface CallContext {
  readonly metadata: CallMetadata
  readonly peer: CallPeer
  /** Aborted when the client went away or the deadline passed: nobody reads an answer any more. */
  readonly signal: AbortSignal
}

/** One request. */
export interface UnaryCall extends CallContext {
  readonly request: Buffer
}

/** A method with one request and one answer. */
export interface UnaryMethod {
  readonly kind: 'unary'
  /** `/package.Service/Method`. */
  readonly path: string
  /** @throws MeshError for a status other than OK: the code's, with the detail as text. */
  handle(call: UnaryCall): Promise<Buffer>
}

/** Hears a stream. Calls are synchronous. */
export interface StreamHandler {
  onMessage(message: Buffer): void
  /** The client will send nothing more. */
  onEnd(): void
  /** write() may be used again after it said false. */
  onDrain(): void
  /** The stream is over, for whatever reason. Once, and last. */
  onClose(): void
}

/** A stream in both directions. */
export interface ServerStream extends CallContext {
  /** Begins to read. Before it not a message is read: authenticate first. Once. */
  start(handler: StreamHandler): void
  /** Sends; the bytes must not change afterwards. False: enough is waiting, go on at onDrain. Nothing after close. */
  write(message: Buffer): boolean
  /** Bytes given to write() which HTTP/2 has not taken yet. */
  readonly unsentBytes: number
  /** No more onMessage until resume(), but for what has been read ahead (at most 16 messages). */
  pause(): void
  resume(): void
  /** Ends with OK once everything is sent. */
  end(): void
  /** Ends with the status of the error. */
  fail(error: MeshError): void
}

/** A method of two streams. handle() may fail the stream or start it, at once or later. */
export interface StreamMethod {
  readonly kind: 'stream'
  readonly path: string
  handle(stream: ServerStream): void
}

export type GrpcMethod = UnaryMethod | StreamMethod

/** What calls need of their server. */
export interface CallSurroundings {
  readonly clock: Clock
  readonly unaryTimeoutMs: number
  readonly onDefect: (path: string, cause: unknown) => void
}

/** A status as grpc-js wants it. */
interface CallStatus {
  readonly code: status
  readonly details: string
}

type RawMethod = MethodDefinition<Buffer, Buffer>
type UnaryImplementation = handleUnaryCall<Buffer, Buffer>
type StreamImplementation = handleBidiStreamingCall<Buffer, Buffer>
type RawCall = ServerUnaryCall<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>

/** The method for Server.addService. */
export function methodDefinition(
  method: GrpcMethod,
  surroundings: CallSurroundings,
): { definition: RawMethod; implementation: UnaryImplementation | StreamImplementation } {
  const isStream = method.kind === 'stream'
  const definition: RawMethod = {
    ...rawMethod(method.path),
    requestStream: isStream,
    responseStream: isStream,
  }
  const implementation = isStream
    ? streamImplementation(method, surroundings)
    : unaryImplementation(method, surroundings)
  return { definition, implementation }
}

/** A unary method whose messages are bytes already. */
export function rawMethod(path: string): RawMethod {
  const same = (bytes: Buffer): Buffer => bytes
  return {
    path,
    requestStream: false,
    responseStream: false,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  }
}

/** The status a failure has on the wire. */
export function statusOf(cause: unknown): CallStatus {
  if (!(cause instanceof MeshError)) return { code: status.INTERNAL, details: 'INTERNAL' }
  const text = cause.detail === '' ? cause.code : `${cause.code}: ${cause.detail}`
  // grpc-js percent-encodes the text and fails on half a surrogate pair.
  return { code: REASONS[cause.code].grpcStatus, details: text.slice(0, MAX_STATUS_LENGTH).toWellFormed() }
}

function unaryImplementation(method: UnaryMethod, surroundings: CallSurroundings): UnaryImplementation {
  const { clock, unaryTimeoutMs, onDefect } = surroundings
  return (call, callback) => {
    const abort = new AbortController()
    let isAnswered = false
    const answer = (error: CallStatus | null, bytes?: Buffer): void => {
      if (isAnswered) return
      isAnswered = true
      timer.cancel()
      callback(error, bytes ?? null)
    }
    const timer = clock.startTimer(unaryTimeoutMs, () => {
      answer({ code: status.DEADLINE_EXCEEDED, details: 'the server took too long' })
      abort.abort()
    })
    call.on('cancelled', () => {
      timer.cancel()
      abort.abort()
    })
    const context = contextOf(call, abort.signal)
    Promise.resolve()
      .then(() => method.handle({ ...context, request: call.request }))
      .then(
        (bytes) => answer(null, bytes),
        (cause: unknown) => {
          if (!(cause instanceof MeshError)) onDefect(method.path, cause)
          answer(statusOf(cause))
        },
      )
  }
}

function streamImplementation(method: StreamMethod, surroundings: CallSurroundings): StreamImplementation {
  return (call) => {
    const stream = new GrpcStream(call)
    try {
      method.handle(stream)
    } catch (cause) {
      if (!(cause instanceof MeshError)) surroundings.onDefect(method.path, cause)
      stream.fail(cause instanceof MeshError ? cause : new MeshError('INTERNAL'))
    }
  }
}

/** reading ⇄ paused → closed. Owns the call. */
class GrpcStream implements ServerStream {
  readonly metadata: CallMetadata
  readonly peer: CallPeer
  readonly signal: AbortSignal
  readonly #call: ServerDuplexStream<Buffer, Buffer>
  #handler: StreamHandler | null = null
  #unsentBytes = 0
  #mustTellDrain = false
  #isOver = false

  constructor(call: ServerDuplexStream<Buffer, Buffer>) {
    this.#call = call
    const abort = new AbortController()
    const { metadata, peer, signal } = contextOf(call, abort.signal)
    this.metadata = metadata
    this.peer = peer
    this.signal = signal
    const onOver = (): void => {
      if (abort.signal.aborted) return
      this.#isOver = true
      abort.abort()
      this.#handler?.onClose()
    }
    call.on('cancelled', onOver)
    call.on('close', onOver)
  }

  get unsentBytes(): number {
    return this.#unsentBytes
  }

  start(handler: StreamHandler): void {
    this.#handler = handler
    if (this.signal.aborted) {
      handler.onClose()
      return
    }
    this.#call.on('data', (message: Buffer) => {
      if (!this.#isOver) handler.onMessage(message)
    })
    this.#call.on('end', () => {
      if (!this.#isOver) handler.onEnd()
    })
  }

  write(message: Buffer): boolean {
    if (this.#isOver) return false
    this.#unsentBytes += message.length
    this.#call.write(message, () => this.#onSent(message.length))
    if (this.#unsentBytes < STREAM_HIGH_WATER_BYTES) return true
    this.#mustTellDrain = true
    return false
  }

  pause(): void {
    this.#call.pause()
  }

  resume(): void {
    this.#call.resume()
  }

  end(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#call.end()
  }

  fail(error: MeshError): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#call.emit('error', statusOf(error)) // how grpc-js is told a status
  }

  #onSent(bytes: number): void {
    this.#unsentBytes -= bytes
    if (!this.#mustTellDrain || this.#isOver || this.#unsentBytes >= STREAM_HIGH_WATER_BYTES) return
    this.#mustTellDrain = false
    this.#handler?.onDrain()
  }
}

function contextOf(call: RawCall, signal: AbortSignal): CallContext {
  return { metadata: metadataOf(call.metadata), peer: peerOf(call), signal }
}

function metadataOf(metadata: Metadata): CallMetadata {
  return {
    get: (name) => {
      const [value] = metadata.get(name)
      return typeof value === 'string' ? value : undefined
    },
  }
}

function peerOf(call: RawCall): CallPeer {
  // grpc-js gives a certificate only if the socket is `authorized`: verified against the client roots.
  const certificate = call.getAuthContext().sslPeerCertificate
  return { address: call.getPeer(), certificateDer: certificate?.raw }
}
