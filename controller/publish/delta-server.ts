// SPDX-License-Identifier: Apache-2.0
// The discovery service: every stream is a DeltaSession, fed by one Publisher. What waits to be sent is bounded for
// all clients together; a client that does not answer is cut and begins again where it was.
import { fromBinary } from '@bufbuild/protobuf'
import { DELTA_PATH } from '../../mesh/discovery/protocol.ts'
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import type { CallMetadata, CallPeer, ServerStream, StreamMethod } from '../../mesh/grpc/calls.ts'
import type { Clock, ClockTimer } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import { DeltaDiscoveryRequestSchema } from '../../proto/generated/envoy/discovery_pb.js'
import { DeltaSession, type Refusal, type SessionEnd, type TypeStatus } from './delta-session.ts'
import { encodeResponse, frameUnder } from './encode.ts'
import type { Published, Publisher } from './publisher.ts'

/** A response must be answered within this time. */
const ANSWER_TIMEOUT_MS = 60_000
/** Encoded and not yet sent, all clients together: two full pushes of a large mesh. */
const MAX_UNSENT_BYTES = 8_388_608
/** Streams of one node: its own, one that lingers, a tool or two. The oldest goes when there are more. */
const MAX_STREAMS_PER_NODE = 8
/** Of what a client calls itself. */
const MAX_ID_LENGTH = 256
/** Refused resources kept for people. */
const MAX_REFUSALS = 1000

/** Whom a stream belongs to, as its credentials prove. */
export interface DiscoveryCaller {
  /** null: no node in particular; then policies of all nodes are sent. */
  readonly node: string | null
  /** `<namespace>/<name>` of the service accounts that it may be: waypoints are known by theirs. */
  readonly accounts: readonly string[]
  /** For people: `token of istio-system/ztunnel on node-a`. */
  readonly description: string
}

export interface DeltaServerOptions {
  readonly publisher: Publisher
  /** @throws MeshError when the caller is nobody we know. */
  readonly authenticate: (metadata: CallMetadata, peer: CallPeer) => Promise<DiscoveryCaller>
  readonly clock: Clock
  readonly log: Log
  readonly answerTimeoutMs?: number
  readonly maxUnsentBytes?: number
}

/** One client, for people. */
export interface ClientStatus {
  /** What it calls itself. */
  readonly id: string
  readonly node: string | null
  readonly caller: string
  readonly address: string
  readonly connectedAtMs: number
  readonly unsentBytes: number
  readonly types: readonly TypeStatus[]
}

/** A resource some client would not take. */
export interface RefusedResource extends Refusal {
  readonly client: string
  readonly atMs: number
}

const END_REASONS: Readonly<Record<SessionEnd, () => MeshError>> = {
  'too-many-types': () => new MeshError('DISCOVERY_LIMIT', { detail: 'too many resource types' }),
  'too-many-names': () => new MeshError('DISCOVERY_LIMIT', { detail: 'too many resource names' }),
  'start-over': () => new MeshError('DISCOVERY_RESTART', { detail: 'too far behind' }),
}

/** One stream. */
class Client {
  id = ''
  readonly caller: DiscoveryCaller
  readonly stream: ServerStream
  readonly session: DeltaSession
  readonly connectedAtMs: number
  timer: ClockTimer | null = null

  constructor(caller: DiscoveryCaller, stream: ServerStream, session: DeltaSession, connectedAtMs: number) {
    this.caller = caller
    this.stream = stream
    this.session = session
    this.connectedAtMs = connectedAtMs
  }
}

export class DeltaServer {
  /** What a GrpcServer is given. */
  readonly method: StreamMethod
  readonly #options: DeltaServerOptions
  readonly #clients = new Set<Client>()
  readonly #refused = new Map<string, RefusedResource>()
  /** Before the first publication nobody is told anything: "nothing" would take from nodes what they hold. */
  #hasPublished = false
  /** Never less than what is unsent. */
  #unsentAtMost = 0
  /** Clients that had to wait for others; first come, first served. */
  readonly #waiting = new Set<Client>()

  constructor(options: DeltaServerOptions) {
    this.#options = options
    this.method = { kind: 'stream', path: DELTA_PATH, handle: (stream) => void this.#accept(stream) }
  }

  /** Publishes and tells every client what it lacks. */
  publish(next: Published): void {
    const hasChanged = this.#options.publisher.publish(next)
    if (!hasChanged && this.#hasPublished) return
    this.#hasPublished = true
    for (const client of this.#clients) this.#send(client)
  }

  /** Publishes revocation lists, as Publisher.publishRevocations(), and tells those who ask for them. */
  publishRevocations(crl: Uint8Array | null): void {
    if (!this.#options.publisher.publishRevocations(crl)) return
    for (const client of this.#clients) this.#send(client)
  }

  clients(): readonly ClientStatus[] {
    return [...this.#clients].map(({ id, caller, stream, session, connectedAtMs }) => ({
      id,
      node: caller.node,
      caller: caller.description,
      address: stream.peer.address,
      connectedAtMs,
      unsentBytes: stream.unsentBytes,
      types: session.status(),
    }))
  }

  /** What clients would not take and is still published, newest last. */
  refused(): readonly RefusedResource[] {
    return [...this.#refused.values()]
  }

  /** Ends all streams with a status that makes clients come back elsewhere. */
  close(): void {
    for (const { stream } of this.#clients)
      stream.fail(new MeshError('DISCOVERY_RESTART', { detail: 'the controller stops' }))
  }

  async #accept(stream: ServerStream): Promise<void> {
    const { authenticate, clock, log, publisher } = this.#options
    let caller: DiscoveryCaller
    try {
      caller = await authenticate(stream.metadata, stream.peer)
    } catch (cause) {
      const error = cause instanceof MeshError ? cause : new MeshError('INTERNAL', { cause })
      log.warn({ reason: error.code, err: cause, peer: stream.peer.address }, 'discovery stream refused')
      stream.fail(error)
      return
    }
    if (stream.signal.aborted) return
    const source = publisher.sourceFor(caller, (refusal) => this.#onRefused(client, refusal))
    const client = new Client(caller, stream, new DeltaSession(source), clock.nowMs)
    this.#makeRoom(caller)
    this.#clients.add(client)
    log.info({ node: caller.node, caller: caller.description, peer: stream.peer.address }, 'discovery stream')
    stream.start({
      onMessage: (bytes) => this.#onMessage(client, bytes),
      onEnd: () => stream.end(),
      onDrain: () => this.#sendWaiting(),
      onClose: () => this.#onClose(client),
    })
  }

  #makeRoom({ node }: DiscoveryCaller): void {
    if (node === null) return
    const own = [...this.#clients].filter(({ caller }) => caller.node === node)
    if (own.length < MAX_STREAMS_PER_NODE) return
    own[0]?.stream.fail(new MeshError('DISCOVERY_LIMIT', { detail: 'too many streams of one node' }))
  }

  #onMessage(client: Client, bytes: Buffer): void {
    try {
      const request = fromBinary(DeltaDiscoveryRequestSchema, bytes)
      if (client.id === '') client.id = request.node?.id.slice(0, MAX_ID_LENGTH) ?? ''
      client.session.onRequest(request)
    } catch {
      client.stream.fail(new MeshError('DISCOVERY_LIMIT', { detail: 'a message that is no request' }))
      return
    }
    if (!client.session.isWaiting) this.#stopTimer(client)
    this.#send(client)
    this.#sendWaiting()
  }

  #send(client: Client): void {
    const { session, stream } = client
    if (!this.#hasPublished) return
    while (true) {
      if (!this.#hasRoom()) {
        this.#waiting.add(client)
        return
      }
      const response = session.next()
      if (session.end !== null) stream.fail(END_REASONS[session.end]())
      if (response === null) return
      const { typeUrl, nonce, answers, removed } = response
      const frames = answers.map(({ name, resource }) => frameUnder(name, resource))
      const bytes = encodeResponse(typeUrl, nonce, frames, removed)
      this.#unsentAtMost += bytes.length
      stream.write(bytes)
      this.#startTimer(client)
    }
  }

  /** Counts what is really unsent only when what was written since the last count could fill the bound. */
  #hasRoom(): boolean {
    const bound = this.#options.maxUnsentBytes ?? MAX_UNSENT_BYTES
    if (this.#unsentAtMost < bound) return true
    this.#unsentAtMost = 0
    for (const { stream } of this.#clients) this.#unsentAtMost += stream.unsentBytes
    return this.#unsentAtMost < bound
  }

  #sendWaiting(): void {
    for (const client of [...this.#waiting]) {
      this.#waiting.delete(client)
      this.#send(client)
      if (this.#waiting.has(client)) return
    }
  }

  #startTimer(client: Client): void {
    client.timer?.cancel()
    client.timer = this.#options.clock.startTimer(this.#options.answerTimeoutMs ?? ANSWER_TIMEOUT_MS, () =>
      client.stream.fail(new MeshError('PEER_UNRESPONSIVE', { detail: 'a response was not answered' })),
    )
  }

  #stopTimer(client: Client): void {
    client.timer?.cancel()
    client.timer = null
  }

  #onRefused(client: Client, refusal: Refusal): void {
    const { clock, log } = this.#options
    const key = `${refusal.typeUrl} ${refusal.name}`
    this.#refused.delete(key)
    this.#refused.set(key, { ...refusal, client: client.id, atMs: clock.nowMs })
    const [oldest] = this.#refused.keys()
    if (this.#refused.size > MAX_REFUSALS && oldest !== undefined) this.#refused.delete(oldest)
    log.error({ node: client.caller.node, ...refusal }, 'a client refused a resource')
  }

  #onClose(client: Client): void {
    this.#stopTimer(client)
    this.#clients.delete(client)
    this.#waiting.delete(client)
    this.#sendWaiting()
  }
}
