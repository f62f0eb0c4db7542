// SPDX-License-Identifier: Apache-2.0
// One question on its way to the resolver the pod chose: a socket of its own, connected to that resolver, so that nobody
// else can answer; what comes back goes to the pod byte for byte.
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { Block, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { ConnectedDatagrams, type ConnectedHandler } from '../../mesh/reactor/connected-datagrams.ts'
import type { Timer } from '../../mesh/reactor/scheduler.ts'
import type { SocketAddress } from '../../mesh/reactor/socket-address.ts'
import { type PodDialer, refusalOf } from '../carry/pod-dialer.ts'
import type { DnsResources } from './dns-resources.ts'
import { DNS_TIMEOUT_MS } from './limits.ts'

/** Hears how it ended: exactly one of the two, once, never within the constructor. */
export interface ForwardHandler {
  /** The resolver's answer, `[start, end)` of `block`, valid during the call only. */
  onAnswer(block: Block, start: number, end: number): void
  onFailed(reason: Refusal): void
}

/** A question under way. */
export class ForwardedQuery implements ConnectedHandler {
  readonly #resources: DnsResources
  readonly #handler: ForwardHandler
  readonly #resolver: SocketAddress
  readonly #id: number
  readonly #socket: ConnectedDatagrams
  readonly #deadline: Timer
  #isDone = false

  private constructor(
    resources: DnsResources,
    fd: number,
    resolver: SocketAddress,
    id: number,
    handler: ForwardHandler,
  ) {
    this.#resources = resources
    this.#handler = handler
    this.#resolver = resolver
    this.#id = id
    this.#socket = new ConnectedDatagrams(resources.reactor, fd, this)
    this.#deadline = resources.reactor.startTimer(DNS_TIMEOUT_MS, () => this.#fail('no answer'))
    resources.forwardedCount++
  }

  /** Sends `[start, end)` of `block`, which begins with the question's id. */
  static start(
    resources: DnsResources,
    dialer: PodDialer,
    resolver: SocketAddress,
    message: { readonly block: Block; readonly start: number; readonly end: number },
    handler: ForwardHandler,
  ): ForwardedQuery | Refusal {
    const fd = openTo(dialer, resolver)
    if (isRefusal(fd)) return fd
    const { block, start, end } = message
    const query = new ForwardedQuery(resources, fd, resolver, block.bytes.readUInt16BE(start), handler)
    // What the kernel has no room for is lost as the network would lose it: the deadline tells.
    const failure = query.#socket.send(block, start, end)
    if (failure === null) return query
    query.cancel()
    return refuse('DNS_UPSTREAM', `${resolver.ip}: ${failure.detail}`)
  }

  onDatagram(block: Block, start: number, end: number): void {
    // Only what answers this question: a late answer to one that had the port before is none.
    if (this.#isDone || end - start < 2 || block.bytes.readUInt16BE(start) !== this.#id) return
    this.cancel()
    this.#handler.onAnswer(block, start, end)
  }

  onUndelivered({ detail }: CloseReason): void {
    this.#fail(detail)
  }

  /** Ends it silently. Idempotent. */
  cancel(): void {
    if (this.#isDone) return
    this.#isDone = true
    this.#resources.forwardedCount--
    this.#deadline.cancel()
    this.#socket.close()
  }

  #fail(detail: string): void {
    if (this.#isDone) return
    this.cancel()
    this.#handler.onFailed(refuse('DNS_UPSTREAM', `${this.#resolver.ip}: ${detail}`))
  }
}

function openTo(dialer: PodDialer, resolver: SocketAddress): number | Refusal {
  try {
    return dialer.openDatagrams(resolver)
  } catch (error) {
    const { code, detail } = refusalOf(error)
    // No route: what a connected socket finds out at once.
    return code === 'SYSTEM_CALL' ? refuse('DNS_UPSTREAM', detail) : refuse(code, detail)
  }
}
