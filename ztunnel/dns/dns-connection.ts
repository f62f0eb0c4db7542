// SPDX-License-Identifier: Apache-2.0
// One TCP connection by which a pod asks. Names of the mesh are answered in between; all other messages go to the resolver
// the pod chose, over one connection of our own, and its messages come back, byte for byte both ways. Only whole messages
// are written, so that answers of two origins never mix.
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import {
  type Block,
  type ByteStreamHandler,
  CLOSED_OK,
  type CloseReason,
  HEADROOM_BYTES,
} from '../../mesh/reactor/byte-stream.ts'
import type { Reactor } from '../../mesh/reactor/reactor.ts'
import type { Timer } from '../../mesh/reactor/scheduler.ts'
import { originalDestination, peerAddress } from '../../mesh/reactor/socket-options.ts'
import { TcpSocket } from '../../mesh/reactor/tcp-socket.ts'
import type { PodConnection } from '../carry/served-pod.ts'
import { askedItself } from './chosen-resolvers.ts'
import { FrameReader, LENGTH_BYTES } from './dns-frames.ts'
import {
  type DnsQuery,
  type DnsRecord,
  HEADER_BYTES,
  MAX_FAILURE_BYTES,
  parseQuery,
  questionType,
  writeFailure,
} from './dns-message.ts'
import { type DnsEnd, MESSAGE_AT } from './dns-resources.ts'
import type { DnsServer } from './dns-server.ts'
import { DNS_TIMEOUT_MS, MAX_UNANSWERED } from './limits.ts'
import { ResolverConnection } from './resolver-connection.ts'

/** A connection of a pod. */
export class DnsConnection implements ByteStreamHandler, PodConnection {
  memberIndex = -1
  readonly sheddable = null
  readonly #server: DnsServer
  readonly #reactor: Reactor
  readonly #client: TcpSocket
  readonly #frames: FrameReader
  readonly #onClosed: () => void
  /** Beginnings of the messages that the resolver has not answered, by their ids. */
  readonly #unanswered = new Map<number, Buffer>()
  /** Names that main was asked for. */
  #waitingCount = 0
  #resolver: ResolverConnection | null = null
  #hasClientEnded = false
  #isOpen = true
  #idle: Timer
  #activeMs: number

  /** Takes over `fd`, a connection that was redirected. */
  constructor(server: DnsServer, fd: number, onClosed: () => void) {
    this.#server = server
    this.#reactor = server.resources.reactor
    this.#onClosed = onClosed
    this.#frames = new FrameReader((bytes, start, end) => this.#onQuestion(bytes, start, end))
    this.#client = new TcpSocket(this.#reactor, fd, this)
    this.#activeMs = this.#reactor.nowMs
    this.#idle = this.#reactor.startTimer(DNS_TIMEOUT_MS, () => this.#checkIdle())
    server.pod.connections.add(this)
  }

  onData({ bytes }: Block, start: number, end: number): void {
    this.#activeMs = this.#reactor.nowMs
    this.#frames.read(bytes, start, end)
  }

  onEnd(): void {
    this.#hasClientEnded = true
    this.#finish()
  }

  onDrain(): void {
    this.#client.resume()
    this.#resolver?.resume()
  }

  onClose(): void {
    this.#isOpen = false
    this.#idle.cancel()
    this.#resolver?.close()
    this.#server.pod.connections.delete(this)
    this.#onClosed()
  }

  get isIdle(): boolean {
    return this.#unanswered.size === 0 && this.#waitingCount === 0
  }

  abort(reason: CloseReason): void {
    this.#client.destroy(reason)
  }

  /** Not listed: questions are counted, not connections. */
  report(): null {
    return null
  }

  /** Policies are not about questions. */
  recheck(): void {}

  /** Its client opens another one after the answer. */
  drain(): void {
    if (this.isIdle) this.#client.end()
  }

  #onQuestion(bytes: Buffer, from: number, end: number): void {
    const start = from + LENGTH_BYTES
    if (end - start < HEADER_BYTES) {
      this.#ended(0, 'failed', refuse('DNS_MALFORMED', `${end - start} bytes`))
      this.abort({ code: 'DNS_MALFORMED', detail: `${end - start} bytes` })
      return
    }
    const query = this.#server.ownQuery(bytes, start, end)
    const verdict = query === null ? null : this.#server.names.get(query.name, query.type)
    if (query === null || verdict === null) this.#forward(bytes, from, end)
    else if (verdict !== undefined) this.#answer(query, bytes, start, verdict)
    else this.#wait(query, Buffer.from(bytes.subarray(from, end)))
  }

  /** `frame` is our own copy: main has to be asked first. */
  #wait({ name, type }: DnsQuery, frame: Buffer): void {
    const refusal = this.#server.names.request(name, type, {
      onVerdict: (verdict) => {
        this.#waitingCount--
        if (!this.#isOpen) return
        const query = parseQuery(frame, LENGTH_BYTES, frame.length)
        if (isRefusal(verdict)) this.#fail(frame.subarray(LENGTH_BYTES), verdict)
        else if (verdict === null || query === null) this.#forward(frame, 0, frame.length)
        else this.#answer(query, frame, LENGTH_BYTES, verdict)
        this.#finish()
      },
    })
    if (refusal === null) this.#waitingCount++
    else this.#fail(frame.subarray(LENGTH_BYTES), refusal)
  }

  #answer(query: DnsQuery, bytes: Buffer, start: number, records: readonly DnsRecord[]): void {
    this.#write(this.#server.writeAnswer(query, bytes, start, records, false))
    this.#ended(query.type, 'answered', null)
  }

  #forward(bytes: Buffer, from: number, end: number): void {
    const start = from + LENGTH_BYTES
    const head = Buffer.from(bytes.subarray(start, Math.min(end, start + MAX_FAILURE_BYTES)))
    if (this.#unanswered.size >= MAX_UNANSWERED) {
      this.#fail(head, refuse('LIMIT_CONNECTION', 'too many DNS questions at once'))
      return
    }
    const resolver = this.#resolver ?? this.#openResolver()
    if (isRefusal(resolver)) {
      this.#fail(head, resolver)
      return
    }
    this.#unanswered.set(head.readUInt16BE(0), head)
    resolver.send(bytes, from, end)
  }

  #openResolver(): ResolverConnection | Refusal {
    const { fd } = this.#client
    const asked = originalDestination(fd, peerAddress(fd)?.ip ?? '')
    // Without a redirection the kernel knows none, or the address that was dialled.
    if (asked === null || asked.port !== 53) return askedItself()
    const resolver = ResolverConnection.open(this.#server.resources, this.#server.pod.dialer, asked, {
      onMessage: (bytes, from, end) => this.#onAnswer(bytes, from, end),
      onClosed: (reason) => this.#onResolverClosed(reason),
    })
    if (!isRefusal(resolver)) this.#resolver = resolver
    return resolver
  }

  #onAnswer(bytes: Buffer, from: number, end: number): void {
    this.#activeMs = this.#reactor.nowMs
    if (end - from >= LENGTH_BYTES + 2) {
      const id = bytes.readUInt16BE(from + LENGTH_BYTES)
      const head = this.#unanswered.get(id)
      // The first message of a transfer answers; the others follow.
      if (head !== undefined) this.#ended(questionType(head, 0, head.length), 'forwarded', null)
      this.#unanswered.delete(id)
    }
    bytes.copy(this.#server.resources.scratch.bytes, MESSAGE_AT - LENGTH_BYTES, from, end)
    this.#send(MESSAGE_AT - LENGTH_BYTES + end - from)
  }

  #onResolverClosed(reason: Refusal | null): void {
    this.#resolver = null
    if (!this.#isOpen) return
    this.#failUnanswered(reason ?? refuse('DNS_UPSTREAM', 'the resolver has closed the connection'))
    this.#client.end()
    if (this.#hasClientEnded) this.#finish()
  }

  #failUnanswered(reason: Refusal): void {
    const heads = [...this.#unanswered.values()]
    this.#unanswered.clear()
    for (const head of heads) this.#fail(head, reason)
  }

  #fail(request: Uint8Array, reason: Refusal): void {
    const end = writeFailure(request, 0, request.length, this.#server.resources.scratch.bytes, MESSAGE_AT)
    if (end > MESSAGE_AT) this.#write(end)
    this.#ended(questionType(request, 0, request.length), 'failed', reason)
  }

  /** Sends the message at MESSAGE_AT of the shared memory. */
  #write(end: number): void {
    this.#server.resources.scratch.bytes.writeUInt16BE(end - MESSAGE_AT, MESSAGE_AT - LENGTH_BYTES)
    this.#send(end)
  }

  /** A client that does not read is not listened to. */
  #send(end: number): void {
    if (this.#client.write(this.#server.resources.scratch, HEADROOM_BYTES, end)) return
    this.#client.pause()
    this.#resolver?.pause()
  }

  /** The client asks nothing more: the resolver hears so, and without one the end is here. */
  #finish(): void {
    if (!this.#hasClientEnded || !this.#isOpen || this.#waitingCount > 0) return
    if (this.#resolver === null) this.#client.end()
    else this.#resolver.end()
  }

  #checkIdle(): void {
    const quietMs = this.#reactor.nowMs - this.#activeMs
    // What main was asked for has a deadline of its own, and an answer then too.
    const isBusy = quietMs < DNS_TIMEOUT_MS || this.#waitingCount > 0
    if (isBusy) {
      const delayMs = quietMs < DNS_TIMEOUT_MS ? DNS_TIMEOUT_MS - quietMs : DNS_TIMEOUT_MS
      this.#idle = this.#reactor.startTimer(delayMs, () => this.#checkIdle())
      return
    }
    this.#failUnanswered(refuse('DNS_UPSTREAM', 'no answer'))
    this.#resolver?.close()
    this.#resolver = null
    this.#client.end()
    // Whoever does not take its end gets no more time.
    this.#idle = this.#reactor.startTimer(DNS_TIMEOUT_MS, () => this.#client.destroy(CLOSED_OK))
  }

  #ended(queryType: number, result: DnsEnd['result'], reason: Refusal | null): void {
    const { code = 'OK', detail = '' } = reason ?? {}
    this.#server.ended({ protocol: 'tcp', queryType, result, code, detail })
  }
}
