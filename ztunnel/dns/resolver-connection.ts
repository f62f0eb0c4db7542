// SPDX-License-Identifier: Apache-2.0
// Our connection to the resolver a pod chose, for the messages of one connection of that pod. What is sent before it stands
// waits, within a bound.
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { type ByteStreamHandler, type CloseReason, HEADROOM_BYTES } from '../../mesh/reactor/byte-stream.ts'
import type { SocketAddress } from '../../mesh/reactor/socket-address.ts'
import { openSocket, type PendingConnect, startConnect } from '../../mesh/reactor/tcp-connect.ts'
import type { TcpSocket } from '../../mesh/reactor/tcp-socket.ts'
import { type PodDialer, refusalOf } from '../carry/pod-dialer.ts'
import { type FrameHandler, FrameReader } from './dns-frames.ts'
import type { DnsResources } from './dns-resources.ts'
import { DNS_TIMEOUT_MS } from './limits.ts'

/** Bytes that a resolver has not taken yet: a few messages of the largest size; questions are far shorter. */
const MAX_UNSENT_BYTES = 262_144

/** Hears what the resolver says. */
export interface ResolverHandler {
  readonly onMessage: FrameHandler
  /** Once and last, not after close(). Null: it has ended in order. */
  onClosed(reason: Refusal | null): void
}

/** One connection; closes itself with its end. */
export class ResolverConnection implements ByteStreamHandler {
  readonly #resources: DnsResources
  readonly #handler: ResolverHandler
  readonly #frames: FrameReader
  readonly #name: string
  readonly #pending: PendingConnect
  #socket: TcpSocket | null = null
  #unsent: Buffer[] = []
  #unsentBytes = 0
  #isEnded = false
  #isOpen = true

  private constructor(
    resources: DnsResources,
    fd: number,
    { ip, port }: SocketAddress,
    handler: ResolverHandler,
  ) {
    this.#resources = resources
    this.#handler = handler
    this.#name = ip
    this.#frames = new FrameReader(handler.onMessage)
    this.#pending = startConnect(resources.reactor, fd, ip, port, DNS_TIMEOUT_MS, {
      onConnected: (connected) => this.#onConnected(connected),
      onConnectFailed: ({ detail }) => this.#closed(refuse('DNS_UPSTREAM', detail)),
    })
  }

  /** Starts connecting; the handler is not called within. */
  static open(
    resources: DnsResources,
    dialer: PodDialer,
    resolver: SocketAddress,
    handler: ResolverHandler,
  ): ResolverConnection | Refusal {
    const fd = open(dialer, resolver.ip)
    return isRefusal(fd) ? fd : new ResolverConnection(resources, fd, resolver, handler)
  }

  /** Sends a message, its length included. */
  send(bytes: Buffer, start: number, end: number): void {
    if (!this.#isOpen) return
    if (this.#socket === null) {
      if (this.#isTooMuch(end - start)) return
      this.#unsent.push(Buffer.from(bytes.subarray(start, end)))
      this.#unsentBytes += end - start
      return
    }
    if (this.#isTooMuch(this.#socket.bufferedBytes + end - start)) return
    const { scratch } = this.#resources
    bytes.copy(scratch.bytes, HEADROOM_BYTES, start, end)
    this.#socket.write(scratch, HEADROOM_BYTES, HEADROOM_BYTES + end - start)
  }

  pause(): void {
    this.#socket?.pause()
  }
  resume(): void {
    this.#socket?.resume()
  }

  /** Nothing more will be sent. */
  end(): void {
    this.#isEnded = true
    this.#socket?.end()
  }

  /** Ends it; the handler hears nothing more. */
  close(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#unsent = []
    this.#pending.cancel()
    this.#socket?.destroy(refuse('DNS_UPSTREAM', 'nobody waits'))
  }

  onData({ bytes }: { readonly bytes: Buffer }, start: number, end: number): void {
    if (this.#isOpen) this.#frames.read(bytes, start, end)
  }

  onEnd(): void {
    this.#socket?.end()
  }

  onDrain(): void {}

  onClose({ code, detail }: CloseReason): void {
    this.#closed(code === 'OK' ? null : refuse('DNS_UPSTREAM', `${this.#name}: ${detail}`))
  }

  #onConnected(fd: number): void {
    this.#socket = openSocket(this.#resources.reactor, fd, this)
    const unsent = this.#unsent
    this.#unsent = []
    this.#unsentBytes = 0
    for (const message of unsent) this.send(message, 0, message.length)
    if (this.#isEnded) this.#socket.end()
  }

  /** A resolver that takes nothing is none. */
  #isTooMuch(bytes: number): boolean {
    if (this.#unsentBytes + bytes <= MAX_UNSENT_BYTES) return false
    this.close()
    this.#resources.reactor.inNextTurn(() =>
      this.#handler.onClosed(refuse('DNS_UPSTREAM', `${this.#name}: takes no questions`)),
    )
    return true
  }

  #closed(reason: Refusal | null): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#handler.onClosed(reason)
  }
}

function open(dialer: PodDialer, ip: string): number | Refusal {
  try {
    return dialer.open(ip, null)
  } catch (error) {
    return refusalOf(error)
  }
}
