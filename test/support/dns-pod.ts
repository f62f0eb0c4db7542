// SPDX-License-Identifier: Apache-2.0
// As much of a worker as the DNS of one pod stands on, in this thread: a real reactor and real sockets on loopback, a test
// as main, and no namespace.
import dnsPacket from 'dns-packet'
import { AF_INET, SOCK_DGRAM } from '../../mesh/reactor/ffi/constants.ts'
import { Reactor } from '../../mesh/reactor/reactor.ts'
import type { SocketAddress } from '../../mesh/reactor/socket-address.ts'
import {
  connectDatagrams,
  createSocket,
  DEFAULT_KEEPALIVE,
  setBindWithoutPort,
  setDatagramFacts,
} from '../../mesh/reactor/socket-options.ts'
import { openDatagramSocket, UdpSocket } from '../../mesh/reactor/udp-socket.ts'
import { Members } from '../../mesh/runtime/members.ts'
import { createCounterMemory, TrafficCounters } from '../../mesh/telemetry/counters.ts'
import { PodDialer } from '../../ztunnel/carry/pod-dialer.ts'
import type { PodConnection, ServedPod } from '../../ztunnel/carry/served-pod.ts'
import { DnsResources } from '../../ztunnel/dns/dns-resources.ts'
import type { UpMessage } from '../../ztunnel/worker-messages.ts'

/** A pod, and what its worker would tell main. */
export class DnsPod {
  readonly reactor = new Reactor()
  readonly resources = new DnsResources(this.reactor)
  readonly posted: UpMessage[] = []
  /** Label texts of everything that was counted. */
  readonly counted: string[] = []
  readonly connections = new Members<PodConnection>()
  readonly dialer: PodDialer
  readonly pod: ServedPod

  constructor() {
    const { reactor, posted, counted, connections } = this
    const host = new PodDialer(null, reactor.descriptors, DEFAULT_KEEPALIVE)
    // as: a dialler whose datagrams need no namespace
    this.dialer = Object.assign(Object.create(null), {
      open: (ip: string) => host.open(ip, null),
      openDatagrams: (peer: SocketAddress) => {
        const fd = createSocket(AF_INET, SOCK_DGRAM)
        setBindWithoutPort(fd)
        setDatagramFacts(fd, AF_INET)
        connectDatagrams(fd, peer)
        return fd
      },
    }) as PodDialer
    const counters = new TrafficCounters(createCounterMemory(), (_, { text }) => void counted.push(text))
    const post = (message: UpMessage): void => void posted.push(message)
    const context = { reactor, post, counters }
    const info = { uid: 'u', name: 'front', namespace: 'shop', serviceAccount: 'front' }
    // as: what the DNS asks of a pod
    this.pod = {
      ...{ context, info, inbound: null, namespace: null, dialer: this.dialer, connections },
    } as unknown as ServedPod
  }

  /** How often something of this reason was counted under a label of its own. */
  hasCounted(reason: string): boolean {
    return this.counted.some((text) => text.includes(`reason="${reason}"`))
  }

  /** Names that main was asked for. */
  get asked(): readonly string[] {
    return this.posted.flatMap((message) => (message.type === 'resolve-dns' ? [message.name] : []))
  }
}

/** A socket of datagrams that a test speaks by: a resolver, or a client. */
export class Datagrams {
  readonly socket: UdpSocket
  readonly received: { readonly bytes: Buffer; readonly peer: SocketAddress }[] = []
  readonly #pod: DnsPod

  constructor(pod: DnsPod, ip = '127.0.0.1') {
    this.#pod = pod
    this.socket = new UdpSocket(pod.reactor, openDatagramSocket(ip, 0, { receiveBufferBytes: 1_000_000 }), {
      onDatagram: ({ block, start, end, peer }) =>
        void this.received.push({ bytes: Buffer.from(block.bytes.subarray(start, end)), peer }),
      onUndelivered() {},
    })
  }

  send(bytes: Uint8Array, peer: SocketAddress): void {
    const { scratch } = this.#pod.resources
    scratch.bytes.set(bytes, 64)
    this.socket.send(scratch, 64, 64 + bytes.length, peer)
  }
}

/** A question in wire form. */
export function question(id: number, name = 'www.example.org'): Buffer {
  return dnsPacket.encode({ type: 'query', id, questions: [{ type: 'A', name, class: 'IN' }] })
}

/** An answer to it; `flags` beside those of an answer. */
export function answer(id: number, data = '192.0.2.1', flags = 0): Buffer {
  const name = 'www.example.org'
  return dnsPacket.encode({
    ...{ type: 'response', id, flags, questions: [{ type: 'A', name, class: 'IN' }] },
    answers: flags === 0 ? [{ type: 'A', name, data }] : [],
  })
}

/** A message with its length in front. */
export function framed(message: Uint8Array, length = message.length): Buffer {
  return Buffer.concat([Buffer.of(length >> 8, length & 255), message])
}
