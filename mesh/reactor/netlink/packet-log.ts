// SPDX-License-Identifier: Apache-2.0
// Packets that nf_tables rules show to a group of listeners (NFLOG): who opens a TCP connection to whom. Headers only. What is
// in a packet is hostile; that it came is the kernel's word. On ordinary main threads, not in reactor workers.
// SPEC linux/netfilter/nfnetlink_log.h: numbers are big endian, a group has one listener in a namespace.
import { MeshError } from '../../errors/mesh-error.ts'
import { isRefusal } from '../../errors/refusal.ts'
import { formatIp, type SocketAddress } from '../../net/address.ts'
import { DescriptorPoll } from '../descriptor-poll.ts'
import type { NetworkNamespace } from '../netns.ts'
import { NETLINK_NETFILTER, NetlinkConnection } from './connection.ts'
import { type MessageBuilder, parseAttributes } from './message.ts'

const SUBSYSTEM = 4
const NFULNL_MSG_PACKET = 0
const NFULNL_MSG_CONFIG = 1
const NFGENMSG_BYTES = 4
const NFULA_CFG_CMD = 1
const NFULA_CFG_MODE = 2
const NFULA_CFG_TIMEOUT = 4
const NFULA_PAYLOAD = 9
const CMD_BIND = 1
const COPY_PACKET = 2
/** Both headers with all their options: 60 bytes each. */
const COPIED_BYTES = 120
/** The kernel gathers packets for this long, in hundredths of a second. */
const GATHER_CENTISECONDS = 10
/** Datagrams read before others get their turn. */
const MAX_DATAGRAMS = 16
const PROTOCOL_TCP = 6

/** Both ends of a connection that somebody wants to open. */
export interface LoggedPacket {
  readonly source: SocketAddress
  readonly destination: SocketAddress
}

/** The one listener of a group. Owns its descriptor; keeps the event loop alive. */
export class PacketLog {
  readonly #connection: NetlinkConnection
  readonly #onPacket: (packet: LoggedPacket) => void

  /** @throws NETLINK when another listens to the group, or the kernel has none; NAMESPACE_GONE, MISSING_CAPABILITY */
  constructor(namespace: NetworkNamespace, group: number, onPacket: (packet: LoggedPacket) => void) {
    this.#onPacket = onPacket
    this.#connection = NetlinkConnection.open(NETLINK_NETFILTER, namespace)
    try {
      this.#bind(group)
      this.#configure(group, (message) =>
        message
          .attribute(NFULA_CFG_MODE, Buffer.of(0, 0, 0, COPIED_BYTES, COPY_PACKET, 0))
          .u32be(NFULA_CFG_TIMEOUT, GATHER_CENTISECONDS),
      )
      DescriptorPoll.shared().watch(this.#connection.fd, () => this.#read())
    } catch (error) {
      this.#connection.close()
      throw error
    }
  }

  /** Idempotent. */
  close(): void {
    if (this.#connection.fd < 0) return
    DescriptorPoll.shared().unwatch(this.#connection.fd)
    this.#connection.close()
  }

  /** The kernel says the same to who may not listen at all, but such a one could not have written the rule. */
  #bind(group: number): void {
    try {
      this.#configure(group, (message) => message.attribute(NFULA_CFG_CMD, Buffer.of(CMD_BIND)))
    } catch (error) {
      if (!(error instanceof MeshError) || error.code !== 'MISSING_CAPABILITY') throw error
      throw new MeshError('NETLINK', { detail: `another listens to packet group ${group}`, cause: error })
    }
  }

  #configure(group: number, write: (message: MessageBuilder) => void): void {
    const header = Buffer.of(0, 0, group >> 8, group & 255)
    const type = (SUBSYSTEM << 8) | NFULNL_MSG_CONFIG
    this.#connection.request(type, 0, (message) => write(message.raw(header)), {
      label: `listen to packet group ${group}`,
    })
  }

  #read(): void {
    try {
      for (let count = 0; count < MAX_DATAGRAMS; count++) {
        const messages = this.#connection.takeSent('packet log')
        if (messages === null) return
        for (const { type, payload } of messages) {
          const packet = type === ((SUBSYSTEM << 8) | NFULNL_MSG_PACKET) ? readMessage(payload) : null
          if (packet !== null) this.#onPacket(packet)
        }
      }
    } catch (error) {
      // More came than was read: those are lost, the next ones are not.
      if (!(error instanceof MeshError)) throw error
    }
  }
}

function readMessage(payload: Buffer): LoggedPacket | null {
  const attributes = parseAttributes(payload, NFGENMSG_BYTES)
  const packet = isRefusal(attributes) ? undefined : attributes.get(NFULA_PAYLOAD)
  return packet === undefined ? null : parseTcpEnds(packet)
}

/** Both ends of a TCP packet of either family; null for what is none. Never throws. */
export function parseTcpEnds(packet: Uint8Array): LoggedPacket | null {
  const version = (packet[0] ?? 0) >> 4
  if (version !== 4 && version !== 6) return null
  const isV4 = version === 4
  const headerBytes = isV4 ? ((packet[0] ?? 0) & 15) * 4 : 40
  // Extension headers of IPv6 are not walked: openers of connections have none.
  if (packet[isV4 ? 9 : 6] !== PROTOCOL_TCP || headerBytes < (isV4 ? 20 : 40)) return null
  const end = (addressAt: number, portAt: number): SocketAddress | null => {
    const ip = formatIp(packet.subarray(addressAt, addressAt + (isV4 ? 4 : 16)))
    const [high, low] = [packet[portAt], packet[portAt + 1]]
    return ip === undefined || high === undefined || low === undefined ? null : { ip, port: high * 256 + low }
  }
  const source = end(isV4 ? 12 : 8, headerBytes)
  const destination = end(isV4 ? 16 : 24, headerBytes + 2)
  return source === null || destination === null ? null : { source, destination }
}
