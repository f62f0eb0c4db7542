// SPDX-License-Identifier: Apache-2.0
// Where a redirected datagram wanted to go: UDP has no SO_ORIGINAL_DST, so the kernel's connection table is asked for
// the flow whose answers run from our address to the peer. One request of some 10 µs, answered within the send call.
// SPEC linux/netfilter/nfnetlink_conntrack.h: tuples are nested, addresses and ports big endian.
import { MeshError } from '../../errors/mesh-error.ts'
import { type Refusal, refuse } from '../../errors/refusal.ts'
import type { Block } from '../byte-stream.ts'
import { E } from '../ffi/libc.ts'
import { allocateBlock } from '../ffi/native.ts'
import type { NetworkNamespace } from '../netns.ts'
import { encodeSocketAddress, ipv4TextAt, ipv6TextAt, isIpv6, type SocketAddress } from '../socket-address.ts'
import { NETLINK_NETFILTER, NetlinkConnection } from './connection.ts'
import {
  ATTRIBUTE_HEADER_BYTES,
  attributeEnd,
  findAttribute,
  MESSAGE_HEADER_BYTES,
  MessageBuilder,
  type NetlinkMessage,
  NLM_F_REQUEST,
} from './message.ts'

const SUBSYSTEM = 1
const CTNL_MSG_GET = 1
const NFGENMSG_BYTES = 4
const NFPROTO_IPV4 = 2
const NFPROTO_IPV6 = 10
const CTA_TUPLE_ORIG = 1
const CTA_TUPLE_REPLY = 2
const CTA_ZONE = 18
const CTA_TUPLE_IP = 1
const CTA_TUPLE_PROTO = 2
const CTA_IP_V4_SRC = 1
const CTA_IP_V4_DST = 2
const CTA_IP_V6_SRC = 3
const CTA_IP_V6_DST = 4
const CTA_PROTO_NUM = 1
const CTA_PROTO_SRC_PORT = 2
const CTA_PROTO_DST_PORT = 3
const PROTOCOLS = { tcp: 6, udp: 17 } as const
/** The kernel answers before the request returns: whoever waits for longer waits in vain, and holds up its thread. */
const LOOKUP_TIMEOUT_MS = 50
const LOOKUP = { label: 'conntrack', tolerated: [E.NOENT] } as const

/** Which flow is asked for beside its two ends. */
export interface FlowOptions {
  readonly protocol?: keyof typeof PROTOCOLS
  /** Conntrack zone of the flow's packets (nf-expressions.setConnectionZone). */
  readonly zone?: number
}

/** Where an address begins in a sockaddr, and how long it is, by family. */
const IPV4 = { at: 4, bytes: 4 } as const
const IPV6 = { at: 8, bytes: 16 } as const
const PORT_OF_SOCKADDR_AT = 2
/** In a request: behind its two headers, the tuple's, the one of its addresses, and the first address's own. */
const FIRST_ADDRESS_AT = MESSAGE_HEADER_BYTES + NFGENMSG_BYTES + 3 * ATTRIBUTE_HEADER_BYTES
/** Behind the last address: the header of the tuple's second half, the protocol's number, the port's own header. */
const PORT_BEHIND_ADDRESS = ATTRIBUTE_HEADER_BYTES + (ATTRIBUTE_HEADER_BYTES + 4) + ATTRIBUTE_HEADER_BYTES
/** From a port to the next: its padding and the other one's header. */
const NEXT_PORT = 4 + ATTRIBUTE_HEADER_BYTES

/** A request about one flow, written once and filled in for each: one is made for every DNS question that is forwarded. */
class FlowRequest {
  readonly block: Block
  readonly byteLength: number
  readonly #family: typeof IPV4 | typeof IPV6

  constructor(isV6: boolean, protocol: keyof typeof PROTOCOLS, zone: number) {
    this.#family = isV6 ? IPV6 : IPV4
    const builder = new MessageBuilder().begin((SUBSYSTEM << 8) | CTNL_MSG_GET, NLM_F_REQUEST, 0)
    writeReplyTuple(builder, isV6, PROTOCOLS[protocol], zone)
    const { bytes } = builder.end()
    this.byteLength = bytes.length
    this.block = allocateBlock(bytes.length)
    bytes.copy(this.block.bytes)
  }

  fill(local: SocketAddress, peer: SocketAddress): void {
    const { bytes } = this.#family
    const secondAddressAt = FIRST_ADDRESS_AT + bytes + ATTRIBUTE_HEADER_BYTES
    const portAt = secondAddressAt + bytes + PORT_BEHIND_ADDRESS
    this.#write(local, FIRST_ADDRESS_AT, portAt)
    this.#write(peer, secondAddressAt, portAt + NEXT_PORT)
  }

  #write({ ip, port }: SocketAddress, addressAt: number, portAt: number): void {
    const { at, bytes } = this.#family
    const sockaddr = encodeSocketAddress(ip, port)
    sockaddr.copyTo(this.block.bytes, addressAt, at, at + bytes)
    sockaddr.copyTo(this.block.bytes, portAt, PORT_OF_SOCKADDR_AT, PORT_OF_SOCKADDR_AT + 2)
  }
}

/** Of this thread: a look-up is over when it returns. */
const requests = new Map<number, FlowRequest>()

function requestFor(isV6: boolean, { protocol = 'udp', zone = 0 }: FlowOptions): FlowRequest {
  const key = ((zone << 8) | PROTOCOLS[protocol]) * 2 + (isV6 ? 1 : 0)
  let request = requests.get(key)
  if (request === undefined) {
    request = new FlowRequest(isV6, protocol, zone)
    requests.set(key, request)
  }
  return request
}

/** The flow whose answers go from one address to the other; addresses and ports are filled in later. */
function writeReplyTuple(message: MessageBuilder, isV6: boolean, protocol: number, zone: number): void {
  const address = Buffer.alloc((isV6 ? IPV6 : IPV4).bytes)
  const port = Buffer.alloc(2)
  message.raw(Buffer.of(isV6 ? NFPROTO_IPV6 : NFPROTO_IPV4, 0, 0, 0))
  message.nest(CTA_TUPLE_REPLY, (tuple) => {
    tuple.nest(CTA_TUPLE_IP, (ip) => {
      ip.attribute(isV6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, address)
      ip.attribute(isV6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, address)
    })
    tuple.nest(CTA_TUPLE_PROTO, (proto) => {
      proto.u8(CTA_PROTO_NUM, protocol)
      proto.attribute(CTA_PROTO_SRC_PORT, port)
      proto.attribute(CTA_PROTO_DST_PORT, port)
    })
  })
  if (zone !== 0) message.attribute(CTA_ZONE, Buffer.of(zone >> 8, zone & 255))
}

/** Destination of a flow's first packet, from the kernel's answer. Never throws: a short answer is a refusal. */
export function parseOriginalDestination({
  payload,
}: Pick<NetlinkMessage, 'payload'>): SocketAddress | Refusal {
  const original = findAttribute(payload, NFGENMSG_BYTES, payload.length, CTA_TUPLE_ORIG, 0)
  if (original < 0) return incomplete()
  const end = attributeEnd(payload, original)
  const proto = findAttribute(payload, original, end, CTA_TUPLE_PROTO, 0)
  const ip = findAttribute(payload, original, end, CTA_TUPLE_IP, 0)
  if (proto < 0 || ip < 0) return incomplete()
  const port = findAttribute(payload, proto, attributeEnd(payload, proto), CTA_PROTO_DST_PORT, 2)
  const ipEnd = attributeEnd(payload, ip)
  const v4 = findAttribute(payload, ip, ipEnd, CTA_IP_V4_DST, IPV4.bytes)
  const v6 = v4 < 0 ? findAttribute(payload, ip, ipEnd, CTA_IP_V6_DST, IPV6.bytes) : -1
  if (port < 0 || (v4 < 0 && v6 < 0)) return incomplete()
  const text = v4 < 0 ? ipv6TextAt(payload, v6) : ipv4TextAt(payload, v4)
  return { ip: text, port: payload.readUInt16BE(port) }
}

function incomplete(): Refusal {
  return refuse('NETLINK', 'an incomplete flow')
}

/** The connection table of one network namespace, kept open between look-ups. Owns its descriptor. */
export class ConnectionTable {
  readonly #connection: NetlinkConnection

  /** `namespace` null: the thread's own. @throws NAMESPACE_GONE, OUT_OF_DESCRIPTORS, SYSTEM_CALL (no netfilter) */
  constructor(namespace: NetworkNamespace | null) {
    this.#connection = NetlinkConnection.open(NETLINK_NETFILTER, namespace, LOOKUP_TIMEOUT_MS)
  }

  /**
   * Where the flow from `peer`, which arrived at `local`, was sent to by its opener; `local` itself when nothing
   * redirected it. A refusal when the table does not know the flow (it forgets a silent UDP flow after 30 s) or cannot
   * be asked: MISSING_CAPABILITY (NET_ADMIN), NETLINK (a kernel without conntrack).
   */
  originalDestination(
    local: SocketAddress,
    peer: SocketAddress,
    options: FlowOptions = {},
  ): SocketAddress | Refusal {
    if (isIpv6(local.ip) !== isIpv6(peer.ip)) return refuse('NETLINK', 'addresses of two families')
    try {
      const request = requestFor(isIpv6(local.ip), options)
      request.fill(local, peer)
      const flow = this.#connection.ask(request.block, request.byteLength, LOOKUP)
      return flow === null ? refuse('NETLINK', 'no such flow') : parseOriginalDestination(flow)
    } catch (error) {
      return refusalOf(error)
    }
  }

  /** For the book of what a thread has open; -1 once it is closed. */
  get fd(): number {
    return this.#connection.fd
  }

  /** Idempotent. */
  close(): void {
    this.#connection.close()
  }
}

/** One look-up, as ConnectionTable's; a namespace that is gone is a refusal too. Never throws. */
export function originalDestination(
  namespace: NetworkNamespace | null,
  local: SocketAddress,
  peer: SocketAddress,
  options: FlowOptions = {},
): SocketAddress | Refusal {
  let table: ConnectionTable
  try {
    table = new ConnectionTable(namespace)
  } catch (error) {
    return refusalOf(error)
  }
  try {
    return table.originalDestination(local, peer, options)
  } finally {
    table.close()
  }
}

/** What the kernel lacks or forbids is an answer here; a defect stays an error. */
function refusalOf(error: unknown): Refusal {
  if (error instanceof MeshError && error.code !== 'INTERNAL') return refuse(error.code, error.detail)
  throw error
}
