// SPDX-License-Identifier: Apache-2.0
// Where a redirected datagram wanted to go: UDP has no SO_ORIGINAL_DST, so the kernel's connection table is asked for
// the flow whose answers run from our address to the peer. One request of some 10 µs, answered within the send call.
// SPEC linux/netfilter/nfnetlink_conntrack.h: tuples are nested, addresses and ports big endian.
import { MeshError } from '../../errors/mesh-error.ts'
import { isRefusal, type Refusal, refuse } from '../../errors/refusal.ts'
import { E } from '../ffi/libc.ts'
import type { NetworkNamespace } from '../netns.ts'
import { encodeSocketAddress, ipv4TextAt, ipv6TextAt, isIpv6, type SocketAddress } from '../socket-address.ts'
import { NETLINK_NETFILTER, NetlinkConnection } from './connection.ts'
import { type Attributes, type MessageBuilder, type NetlinkMessage, parseAttributes } from './message.ts'

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

/** Which flow is asked for beside its two ends. */
export interface FlowOptions {
  readonly protocol?: keyof typeof PROTOCOLS
  /** Conntrack zone of the flow's packets (nf-expressions.setConnectionZone). */
  readonly zone?: number
}

function addressBytes(ip: string): Buffer {
  const wanted = isIpv6(ip) ? 16 : 4
  const bytes = Buffer.alloc(wanted)
  const at = wanted === 16 ? 8 : 4
  encodeSocketAddress(ip, 0).copyTo(bytes, 0, at, at + wanted)
  return bytes
}

function portBytes(port: number): Buffer {
  return Buffer.of(port >> 8, port & 255)
}

function writeReplyTuple(
  message: MessageBuilder,
  local: SocketAddress,
  peer: SocketAddress,
  options: FlowOptions,
): void {
  const isV6 = isIpv6(local.ip)
  message.raw(Buffer.of(isV6 ? NFPROTO_IPV6 : NFPROTO_IPV4, 0, 0, 0))
  message.nest(CTA_TUPLE_REPLY, (tuple) => {
    tuple.nest(CTA_TUPLE_IP, (ip) => {
      ip.attribute(isV6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, addressBytes(local.ip))
      ip.attribute(isV6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, addressBytes(peer.ip))
    })
    tuple.nest(CTA_TUPLE_PROTO, (proto) => {
      proto.u8(CTA_PROTO_NUM, PROTOCOLS[options.protocol ?? 'udp'])
      proto.attribute(CTA_PROTO_SRC_PORT, portBytes(local.port))
      proto.attribute(CTA_PROTO_DST_PORT, portBytes(peer.port))
    })
  })
  if (options.zone !== undefined && options.zone !== 0) message.attribute(CTA_ZONE, portBytes(options.zone))
}

/** Destination of a flow's first packet, from the kernel's answer. Never throws: a short answer is a refusal. */
export function parseOriginalDestination(message: NetlinkMessage): SocketAddress | Refusal {
  const attributes = parseAttributes(message.payload, NFGENMSG_BYTES)
  if (isRefusal(attributes)) return attributes
  const original = attributes.nested(CTA_TUPLE_ORIG)
  if (isRefusal(original)) return original
  const ip = original.nested(CTA_TUPLE_IP)
  if (isRefusal(ip)) return ip
  const proto = original.nested(CTA_TUPLE_PROTO)
  if (isRefusal(proto)) return proto
  const port = proto.get(CTA_PROTO_DST_PORT)
  const text = destinationText(ip)
  if (port === undefined || port.length < 2 || text === null) return refuse('NETLINK', 'an incomplete flow')
  return { ip: text, port: port.readUInt16BE(0) }
}

function destinationText(ip: Attributes): string | null {
  const v4 = ip.get(CTA_IP_V4_DST)
  if (v4 !== undefined && v4.length >= 4) return ipv4TextAt(v4, 0)
  const v6 = ip.get(CTA_IP_V6_DST)
  return v6 !== undefined && v6.length >= 16 ? ipv6TextAt(v6, 0) : null
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
      const replies = this.#connection.request(
        (SUBSYSTEM << 8) | CTNL_MSG_GET,
        0,
        (message) => writeReplyTuple(message, local, peer, options),
        { label: 'conntrack', tolerated: [E.NOENT] },
      )
      const flow = replies[0]
      return flow === undefined ? refuse('NETLINK', 'no such flow') : parseOriginalDestination(flow)
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
