// SPDX-License-Identifier: Apache-2.0
// DNS of one pod in one worker. A question about a name of the mesh is answered here; everything else goes byte for byte
// to the resolver the pod chose, and so does its answer. No question is left without an answer but by that resolver.
// SPEC HBONE §8; where it forwards to resolvers of the node we forward to the pod's.

import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { formatSocketAddress } from '../../mesh/net/address.ts'
import type { Block } from '../../mesh/reactor/byte-stream.ts'
import { ConnectionTable } from '../../mesh/reactor/netlink/conntrack.ts'
import type { SocketAddress } from '../../mesh/reactor/socket-address.ts'
import { type Datagram, MAX_DATAGRAM_BYTES, UdpSocket } from '../../mesh/reactor/udp-socket.ts'
import { refusalOf } from '../carry/pod-dialer.ts'
import type { ServedPod } from '../carry/served-pod.ts'
import { ChosenResolvers, type FlowTable } from './chosen-resolvers.ts'
import { DnsConnection } from './dns-connection.ts'
import {
  type DnsQuery,
  type DnsRecord,
  HEADER_BYTES,
  MAX_FAILURE_BYTES,
  parseQuery,
  questionType,
  TYPE_A,
  TYPE_AAAA,
  TYPE_SRV,
  writeFailure,
  writeReply,
} from './dns-message.ts'
import { type DnsEnd, type DnsResources, MESSAGE_AT } from './dns-resources.ts'
import { ForwardedQuery } from './forwarded-query.ts'
import { MAX_DNS_CONNECTIONS, MAX_FORWARDED, MAX_FORWARDED_PER_WORKER } from './limits.ts'
import { NameVerdicts } from './name-verdicts.ts'

/** SPEC HBONE §8. */
const TTL_SECONDS = 30
/** One that drains looks this often whether all questions are answered. */
const LEAVE_CHECK_MS = 100

/** Who asked, and where the answer is sent from. */
interface Asker {
  readonly socket: UdpSocket
  readonly peer: SocketAddress
  readonly local: SocketAddress
}

/** What may be answered; all other questions are the resolver's. */
const OWN_TYPES: ReadonlySet<number> = new Set([TYPE_A, TYPE_AAAA, TYPE_SRV])

/** DNS of a pod. */
export class DnsServer {
  readonly pod: ServedPod
  readonly resources: DnsResources
  readonly names: NameVerdicts
  /** By descriptor. */
  readonly #sockets = new Map<number, UdpSocket>()
  readonly #resolvers: ChosenResolvers
  readonly #forwarded = new Set<ForwardedQuery>()
  #waitingCount = 0
  #connectionCount = 0
  /** Turns the order of addresses from answer to answer. */
  #rotation = 0

  constructor(pod: ServedPod, resources: DnsResources) {
    this.pod = pod
    this.resources = resources
    this.names = new NameVerdicts(resources.reactor, (name, queryType) =>
      pod.context.post({ type: 'resolve-dns', uid: pod.info.uid, name, queryType }),
    )
    this.#resolvers = new ChosenResolvers(() => openFlowTable(pod))
  }

  /** Serves a socket of datagrams that stays main's. One that is served already stays as it is. */
  listen(fd: number): void {
    if (this.#sockets.has(fd)) return
    const socket: UdpSocket = new UdpSocket(
      this.resources.reactor,
      fd,
      {
        onDatagram: (datagram) => this.#onDatagram(socket, datagram),
        onUndelivered() {}, // the pod has closed its socket: nobody waits for the answer
      },
      MAX_DATAGRAM_BYTES,
      true,
    )
    this.#sockets.set(fd, socket)
  }

  /** Takes one accepted connection; `onClosed` is called when it has ended. */
  accept(fd: number, onClosed: () => void): void {
    this.#connectionCount++
    const isTooMany = this.#connectionCount > MAX_DNS_CONNECTIONS
    const connection = new DnsConnection(this, fd, () => {
      this.#connectionCount--
      onClosed()
    })
    if (isTooMany) connection.abort(refuse('LIMIT_POD', 'too many DNS connections'))
  }

  /** True when nobody waits for an answer. */
  get isIdle(): boolean {
    return this.#forwarded.size === 0 && this.#waitingCount === 0
  }

  /** Takes no more questions by datagram; those asked already are answered, then the sockets are not used any more: `onLeft`. */
  drain(onLeft: () => void): void {
    for (const socket of this.#sockets.values()) socket.stopReceiving()
    this.#leaveWhenIdle(onLeft)
  }

  #leaveWhenIdle(onLeft: () => void): void {
    if (!this.isIdle) {
      this.resources.reactor.startTimer(LEAVE_CHECK_MS, () => this.#leaveWhenIdle(onLeft))
      return
    }
    for (const socket of this.#sockets.values()) socket.close()
    this.#sockets.clear()
    onLeft()
  }

  /** Ends everything, without answers: the pod is gone, or asks its resolver itself from now on. */
  close(reason: Refusal): void {
    for (const socket of this.#sockets.values()) socket.close()
    this.#sockets.clear()
    this.names.close(reason)
    for (const query of this.#forwarded) query.cancel()
    this.#forwarded.clear()
    this.#resolvers.close()
  }

  /** What the mesh may know; null for everything that is the resolver's. */
  ownQuery(bytes: Uint8Array, start: number, end: number): DnsQuery | null {
    const query = parseQuery(bytes, start, end)
    return query !== null && OWN_TYPES.has(query.type) ? query : null
  }

  /** Writes an answer to the shared memory at MESSAGE_AT; returns where it ends. */
  writeAnswer(
    query: DnsQuery,
    request: Uint8Array,
    start: number,
    records: readonly DnsRecord[],
    isUdp: boolean,
  ): number {
    const reply = { query, request, start, records: this.#turned(records), isUdp, ttlSeconds: TTL_SECONDS }
    return writeReply(reply, this.resources.scratch.bytes, MESSAGE_AT)
  }

  /** One more question has found its end. */
  ended(end: DnsEnd): void {
    this.resources.ended(this.pod, end)
  }

  #onDatagram(socket: UdpSocket, { block, start, end, peer, local }: Datagram): void {
    const asker: Asker = { socket, peer, local }
    if (end - start < HEADER_BYTES) {
      const reason = refuse(
        'DNS_MALFORMED',
        `${end - start} bytes from ${formatSocketAddress(peer.ip, peer.port)}`,
      )
      this.#end(0, 'failed', reason)
      return
    }
    const query = this.ownQuery(block.bytes, start, end)
    const verdict = query === null ? null : this.names.get(query.name, query.type)
    if (query === null || verdict === null) this.#forward(asker, block, start, end)
    else if (verdict !== undefined) this.#answer(asker, query, block.bytes, start, verdict)
    else this.#wait(asker, query, Buffer.from(block.bytes.subarray(start, end)))
  }

  /** `request` is our own copy: main has to be asked first. */
  #wait(asker: Asker, query: DnsQuery, request: Buffer): void {
    const relative = parseQuery(request, 0, request.length) ?? query
    const refusal = this.names.request(query.name, query.type, {
      onVerdict: (verdict) => {
        this.#waitingCount--
        if (isRefusal(verdict)) this.#fail(asker, request, verdict)
        else if (verdict !== null) this.#answer(asker, relative, request, 0, verdict)
        else {
          const { scratch } = this.resources
          request.copy(scratch.bytes, MESSAGE_AT)
          this.#forward(asker, scratch, MESSAGE_AT, MESSAGE_AT + request.length)
        }
      },
    })
    if (refusal === null) this.#waitingCount++
    else this.#fail(asker, request, refusal)
  }

  #answer(
    { socket, peer, local }: Asker,
    query: DnsQuery,
    request: Uint8Array,
    start: number,
    records: readonly DnsRecord[],
  ): void {
    const end = this.writeAnswer(query, request, start, records, true)
    socket.send(this.resources.scratch, MESSAGE_AT, end, peer, local)
    this.#end(query.type, 'answered', null)
  }

  #forward(asker: Asker, block: Block, start: number, end: number): void {
    const { socket, peer, local } = asker
    const { nowMs } = this.resources.reactor
    const resolver = this.#roomToForward() ?? this.#resolvers.of(local, peer, nowMs)
    if (isRefusal(resolver)) {
      this.#fail(asker, headOf(block, start, end), resolver)
      return
    }
    const query = ForwardedQuery.start(
      this.resources,
      this.pod.dialer,
      resolver,
      { block, start, end },
      {
        onAnswer: (answer, from, to) => {
          if (!isRefusal(query)) this.#forwarded.delete(query)
          socket.send(answer, from, to, peer, local)
          this.#end(questionType(head, 0, head.length), 'forwarded', null)
          this.pod.dialer.replenish()
        },
        onFailed: (reason) => {
          if (!isRefusal(query)) this.#forwarded.delete(query)
          this.#fail(asker, head, reason)
        },
      },
    )
    // Kept for a failure: what it was about is gone by then. On its way before that, so that it costs no time.
    const head = headOf(block, start, end)
    if (isRefusal(query)) this.#fail(asker, head, query)
    else this.#forwarded.add(query)
  }

  #roomToForward(): Refusal | null {
    if (this.#forwarded.size >= MAX_FORWARDED) return refuse('LIMIT_POD', 'too many DNS questions at once')
    const isFull = this.resources.forwardedCount >= MAX_FORWARDED_PER_WORKER
    return isFull ? refuse('LIMIT_NODE', 'too many DNS questions at once') : null
  }

  #fail({ socket, peer, local }: Asker, request: Uint8Array, reason: Refusal): void {
    const { scratch } = this.resources
    const end = writeFailure(request, 0, request.length, scratch.bytes, MESSAGE_AT)
    if (end > MESSAGE_AT) socket.send(scratch, MESSAGE_AT, end, peer, local)
    this.#end(questionType(request, 0, request.length), 'failed', reason)
  }

  #end(queryType: number, result: DnsEnd['result'], reason: Refusal | null): void {
    const { code = 'OK', detail = '' } = reason ?? {}
    this.ended({ protocol: 'udp', queryType, result, code, detail })
  }

  /** The same records, the addresses beginning with another one each time; a CNAME stays in front. */
  #turned(records: readonly DnsRecord[]): readonly DnsRecord[] {
    const first = records.findIndex(({ kind }) => kind === 'A' || kind === 'AAAA')
    if (first < 0) return records
    const count = records.length - first
    if (count < 2) return records
    const by = first + (this.#rotation++ % count)
    return [...records.slice(0, first), ...records.slice(by), ...records.slice(first, by)]
  }
}

/** As much of a question as the answer to a failure repeats; our own copy. */
function headOf({ bytes }: Block, start: number, end: number): Buffer {
  return Buffer.from(bytes.subarray(start, Math.min(end, start + MAX_FAILURE_BYTES)))
}

/** The pod's connection table; its descriptor goes with the worker if that dies. */
function openFlowTable(pod: ServedPod): FlowTable | Refusal {
  const { descriptors } = pod.context.reactor
  try {
    const table = new ConnectionTable(pod.namespace)
    descriptors.add(table.fd)
    return {
      originalDestination: (local, peer) => table.originalDestination(local, peer),
      close: () => {
        descriptors.remove(table.fd)
        table.close()
      },
    }
  } catch (error) {
    return refusalOf(error)
  }
}
