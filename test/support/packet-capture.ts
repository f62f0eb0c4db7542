// SPDX-License-Identifier: Apache-2.0
// Every packet that crosses a link of a namespace, taken by a packet socket of our own: no tcpdump needed. Also the
// questions tests ask of packets: whose TCP streams they are, whether those are TLS, whether some bytes are in them.
import { SO_RCVBUF, SOCK_RAW, SOL_SOCKET } from '../../mesh/reactor/ffi/constants.ts'
import { bind, close, E, errno, getsockopt, recvfrom, setsockopt } from '../../mesh/reactor/ffi/libc.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import { NETLINK_ROUTE, NetlinkConnection } from '../../mesh/reactor/netlink/connection.ts'
import { linkIndex } from '../../mesh/reactor/netlink/links.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { createSocket, systemError } from '../../mesh/reactor/socket-options.ts'

const AF_PACKET = 17
const SO_RCVBUFFORCE = 33
const ETH_P_ALL = 3
const SOL_PACKET = 263
const PACKET_STATISTICS = 6
const SOCKADDR_LL_BYTES = 20
const RECEIVE_BUFFER_BYTES = 33_554_432
/** A packet before segmentation, with room. */
const PACKET_BYTES = 131_072
const POLL_MS = 5
const ETHERNET_BYTES = 14
const ETHERTYPE_IPV4 = 0x0800
const ETHERTYPE_IPV6 = 0x86dd
const IPV6_HEADER_BYTES = 40
const IPPROTO_TCP = 6
const TCP_SYN = 0x02

/** A running capture. Owns its socket. */
export class PacketCapture {
  /** Whole frames, in the order they crossed. */
  readonly packets: Buffer[] = []
  readonly #fd: number
  readonly #block = allocateBlock(PACKET_BYTES)
  readonly #timer: NodeJS.Timeout
  #lostCount = 0

  private constructor(fd: number) {
    this.#fd = fd
    this.#timer = setInterval(() => this.#drain(), POLL_MS)
  }

  /** Starts. @throws MISSING_CAPABILITY, NETLINK */
  static open(namespace: NetworkNamespace, link: string): PacketCapture {
    const index = NetlinkConnection.use(NETLINK_ROUTE, namespace, (connection) => linkIndex(connection, link))
    // Protocol 0: nothing arrives before the socket is bound to the one link.
    const fd = namespace.run(() => createSocket(AF_PACKET, SOCK_RAW, 0))
    const option = allocateBlock(4)
    option.bytes.writeInt32LE(RECEIVE_BUFFER_BYTES, 0)
    for (const name of [SO_RCVBUF, SO_RCVBUFFORCE]) setsockopt(fd, SOL_SOCKET, name, option.address, 4)
    const address = allocateBlock(SOCKADDR_LL_BYTES)
    address.bytes.fill(0)
    address.bytes.writeUInt16LE(AF_PACKET, 0)
    address.bytes.writeUInt16BE(ETH_P_ALL, 2)
    address.bytes.writeInt32LE(index, 4)
    if (bind(fd, address.address, SOCKADDR_LL_BYTES) !== 0) throw systemError('bind')
    return new PacketCapture(fd)
  }

  /** Stops. Returns how many packets the kernel had no room for: 0, or the capture proves nothing. */
  close(): number {
    clearInterval(this.#timer)
    this.#drain()
    const statistics = allocateBlock(8)
    const length = allocateBlock(4)
    length.bytes.writeUInt32LE(8, 0)
    if (getsockopt(this.#fd, SOL_PACKET, PACKET_STATISTICS, statistics.address, length.address) !== 0) {
      throw systemError('getsockopt PACKET_STATISTICS')
    }
    close(this.#fd)
    return this.#lostCount + statistics.bytes.readUInt32LE(4)
  }

  #drain(): void {
    for (;;) {
      const count = recvfrom(this.#fd, this.#block.address, PACKET_BYTES, 0, 0, 0)
      if (count < 0) {
        const code = errno()
        if (code === E.AGAIN) return
        throw systemError('recvfrom', code)
      }
      if (count === PACKET_BYTES) this.#lostCount++
      this.packets.push(Buffer.from(this.#block.bytes.subarray(0, count)))
    }
  }
}

/** One direction of a TCP connection. */
export interface TcpFlow {
  /** `ip:port>ip:port` */
  readonly name: string
  readonly sourcePort: number
  readonly destinationPort: number
  /** What was sent, put in order. */
  readonly bytes: Buffer
}

interface Segment {
  readonly sequence: number
  readonly payload: Buffer
}

/** The TCP flows of a capture that saw them begin. */
export function tcpFlows(packets: readonly Buffer[]): readonly TcpFlow[] {
  const flows = new Map<string, { first: number; segments: Segment[]; ports: readonly [number, number] }>()
  for (const packet of packets) {
    const read = readTcp(packet)
    if (read === null) continue
    const { tcp, source, destination } = read
    const ports = [tcp.readUInt16BE(0), tcp.readUInt16BE(2)] as const
    const name = `${source}:${ports[0]}>${destination}:${ports[1]}`
    const sequence = tcp.readUInt32BE(4)
    if (((tcp[13] ?? 0) & TCP_SYN) !== 0) flows.set(name, { first: sequence + 1, segments: [], ports })
    const payload = tcp.subarray(((tcp[12] ?? 0) >> 4) * 4)
    if (payload.length > 0) flows.get(name)?.segments.push({ sequence, payload })
  }
  return [...flows].map(([name, { first, segments, ports }]) => ({
    name,
    sourcePort: ports[0],
    destinationPort: ports[1],
    bytes: inOrder(first, segments),
  }))
}

/** The TCP of a frame, and between whom (IPv6 as 32 hexadecimal digits); null of anything else. */
function readTcp(packet: Buffer): { tcp: Buffer; source: string; destination: string } | null {
  const type = packet.readUInt16BE(12)
  const ip = packet.subarray(ETHERNET_BYTES)
  if (type === ETHERTYPE_IPV4 && ip[9] === IPPROTO_TCP) {
    const tcp = ip.subarray(((ip[0] ?? 0) & 0x0f) * 4, ip.readUInt16BE(2))
    return { tcp, source: ip.subarray(12, 16).join('.'), destination: ip.subarray(16, 20).join('.') }
  }
  // Extension headers are for fragments and the like: no TCP of ours has them.
  if (type === ETHERTYPE_IPV6 && ip[6] === IPPROTO_TCP) {
    const tcp = ip.subarray(IPV6_HEADER_BYTES, IPV6_HEADER_BYTES + ip.readUInt16BE(4))
    return { tcp, source: ip.toString('hex', 8, 24), destination: ip.toString('hex', 24, 40) }
  }
  return null
}

function inOrder(first: number, segments: readonly Segment[]): Buffer {
  const placed = segments.map(({ sequence, payload }) => ({ offset: (sequence - first) >>> 0, payload }))
  const bytes = Buffer.alloc(Math.max(0, ...placed.map(({ offset, payload }) => offset + payload.length)))
  for (const { offset, payload } of placed) payload.copy(bytes, offset)
  return bytes
}

/** Types of the TLS records that `bytes` consists of; null when it is anything else. The last may be cut short. */
export function tlsRecordTypes(bytes: Buffer): readonly number[] | null {
  const types: number[] = []
  // SPEC RFC8446 §5.1, §5.2: type, version 0x0301 or 0x0303, at most 2^14 + 256 bytes.
  for (let at = 0; at + 5 <= bytes.length; at += 5 + bytes.readUInt16BE(at + 3)) {
    const type = bytes[at] ?? 0
    const isVersion = bytes[at + 1] === 3 && (bytes[at + 2] === 1 || bytes[at + 2] === 3)
    if (type < 0x14 || type > 0x17 || !isVersion || bytes.readUInt16BE(at + 3) > 16_640) return null
    types.push(type)
  }
  return types
}

const RUN_BYTES = 16

/** How many runs of 16 bytes of `payload` are somewhere in `haystack`. */
export function countRuns(haystack: Buffer, payload: Buffer): number {
  const runs = new Set<string>()
  for (let at = 0; at + RUN_BYTES <= payload.length; at += RUN_BYTES) {
    runs.add(payload.toString('latin1', at, at + RUN_BYTES))
  }
  let found = 0
  for (let at = 0; at + RUN_BYTES <= haystack.length; at++) {
    if (runs.has(haystack.toString('latin1', at, at + RUN_BYTES))) found++
  }
  return found
}
