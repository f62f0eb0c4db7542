// SPDX-License-Identifier: Apache-2.0
// Payload of connections as a pcapng file that Wireshark opens: each connection becomes TCP over IP over Ethernet, with
// right checksums, a handshake in front and FINs behind. The headers are made up; bytes, addresses and times are real. Pure.
// SPEC draft-ietf-opsawg-pcapng §4.1–4.3
import { isIPv4, isIPv6 } from 'node:net'

/** Payload of one made-up segment: an IPv4 packet has 65,535 bytes with its headers. */
const SEGMENT_BYTES = 32_768
const LINKTYPE_ETHERNET = 1
const [FIN, SYN, PSH, ACK] = [1, 2, 8, 16]

/** One end of a connection. */
export interface PacketEnd {
  readonly ip: string
  readonly port: number
}

/** The beginning of a file. `name`: what was captured. */
export function pcapngHeader(name: string): Buffer {
  const section = Buffer.alloc(16)
  section.writeUInt32LE(0x1a2b3c4d, 0)
  section.writeUInt16LE(1, 4) // version 1.0
  section.writeBigInt64LE(-1n, 8) // length not known
  const about = Buffer.alloc(8)
  about.writeUInt16LE(LINKTYPE_ETHERNET, 0)
  const label = Buffer.from(name.slice(0, 200))
  const option = Buffer.alloc(4)
  option.writeUInt16LE(2, 0) // if_name
  option.writeUInt16LE(label.length, 2)
  const description = Buffer.concat([about, option, padded(label), Buffer.alloc(4)])
  return Buffer.concat([block(0x0a0d0d0a, section), block(1, description)])
}

function block(type: number, body: Buffer): Buffer {
  const bytes = Buffer.alloc(body.length + 12)
  bytes.writeUInt32LE(type, 0)
  bytes.writeUInt32LE(bytes.length, 4)
  body.copy(bytes, 8)
  bytes.writeUInt32LE(bytes.length, bytes.length - 4)
  return bytes
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])
}

/** One connection as packets. Offsets are bytes of a direction since its beginning. */
export class PacketConnection {
  readonly #client: PacketEnd
  readonly #server: PacketEnd
  /** What each side has sent as far as it was told, for the acknowledgements of the other. */
  #toServer = 0
  #toClient = 0

  constructor(client: PacketEnd, server: PacketEnd) {
    const areBothV4 = isIPv4(client.ip) && isIPv4(server.ip)
    this.#client = areBothV4 ? client : asV6(client)
    this.#server = areBothV4 ? server : asV6(server)
  }

  /** The three packets of a handshake. */
  begin(atMs: number): Buffer {
    return Buffer.concat([
      this.#packet(atMs, true, SYN, -1, -1, Buffer.alloc(0)),
      this.#packet(atMs, false, SYN | ACK, -1, 0, Buffer.alloc(0)),
      this.#packet(atMs, true, ACK, 0, 0, Buffer.alloc(0)),
    ])
  }

  data(atMs: number, isToServer: boolean, offset: number, payload: Buffer): Buffer {
    const packets: Buffer[] = []
    for (let at = 0; at < payload.length; at += SEGMENT_BYTES) {
      const part = payload.subarray(at, at + SEGMENT_BYTES)
      const acknowledged = isToServer ? this.#toClient : this.#toServer
      packets.push(this.#packet(atMs, isToServer, PSH | ACK, offset + at, acknowledged, part))
    }
    if (isToServer) this.#toServer = offset + payload.length
    else this.#toClient = offset + payload.length
    return Buffer.concat(packets)
  }

  /** A FIN of each side. */
  end(atMs: number): Buffer {
    const [none, sent, received] = [Buffer.alloc(0), this.#toServer, this.#toClient]
    return Buffer.concat([
      this.#packet(atMs, true, FIN | ACK, sent, received, none),
      this.#packet(atMs, false, FIN | ACK, received, sent + 1, none),
      this.#packet(atMs, true, ACK, sent + 1, received + 1, none),
    ])
  }

  /** Sequence numbers begin at 1 with the first byte. */
  #packet(
    atMs: number,
    isToServer: boolean,
    flags: number,
    from: number,
    acknowledged: number,
    payload: Buffer,
  ): Buffer {
    const [source, target] = isToServer ? [this.#client, this.#server] : [this.#server, this.#client]
    const addresses = Buffer.concat([addressBytes(source.ip), addressBytes(target.ip)])
    const tcp = Buffer.alloc(20 + payload.length)
    tcp.writeUInt16BE(source.port, 0)
    tcp.writeUInt16BE(target.port, 2)
    tcp.writeUInt32BE((from + 1) % 2 ** 32, 4)
    tcp.writeUInt32BE((flags & ACK) === 0 ? 0 : (acknowledged + 1) % 2 ** 32, 8)
    tcp.writeUInt8(5 << 4, 12)
    tcp.writeUInt8(flags, 13)
    tcp.writeUInt16BE(65_535, 14)
    payload.copy(tcp, 20)
    const pseudo = Buffer.alloc(8) // the sum is the same for both families
    pseudo.writeUInt32BE(tcp.length, 0)
    pseudo.writeUInt32BE(6, 4)
    tcp.writeUInt16BE(checksum([addresses, pseudo, tcp]), 16)
    const ip = addresses.length === 8 ? ipv4Header(addresses, tcp.length) : ipv6Header(addresses, tcp.length)
    const ethernet = Buffer.from(isToServer ? '020000000002020000000001' : '020000000001020000000002', 'hex')
    const type = Buffer.from(addresses.length === 8 ? '0800' : '86dd', 'hex')
    return enhancedPacket(atMs, Buffer.concat([ethernet, type, ip, tcp]))
  }
}

function enhancedPacket(atMs: number, packet: Buffer): Buffer {
  const about = Buffer.alloc(20)
  const atUs = BigInt(Math.round(atMs * 1000))
  about.writeUInt32LE(Number(atUs >> 32n), 4)
  about.writeUInt32LE(Number(atUs & 0xffffffffn), 8)
  about.writeUInt32LE(packet.length, 12)
  about.writeUInt32LE(packet.length, 16)
  return block(6, Buffer.concat([about, padded(packet)]))
}

function ipv4Header(addresses: Buffer, length: number): Buffer {
  const header = Buffer.alloc(20)
  header.writeUInt8(0x45, 0)
  header.writeUInt16BE(20 + length, 2)
  header.writeUInt16BE(0x4000, 6) // not to be fragmented
  header.writeUInt8(64, 8)
  header.writeUInt8(6, 9)
  addresses.copy(header, 12)
  header.writeUInt16BE(checksum([header]), 10)
  return header
}

function ipv6Header(addresses: Buffer, length: number): Buffer {
  const header = Buffer.alloc(40)
  header.writeUInt8(0x60, 0)
  header.writeUInt16BE(length, 4)
  header.writeUInt8(6, 6)
  header.writeUInt8(64, 7)
  addresses.copy(header, 8)
  return header
}

/** SPEC RFC1071: of parts that begin at even offsets. */
function checksum(parts: readonly Buffer[]): number {
  let sum = 0
  for (const part of parts) {
    for (let at = 0; at + 1 < part.length; at += 2) sum += part.readUInt16BE(at)
    if (part.length % 2 === 1) sum += (part.at(-1) ?? 0) << 8
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65_536)
  return ~sum & 0xffff
}

function asV6({ ip, port }: PacketEnd): PacketEnd {
  return { ip: isIPv4(ip) ? `::ffff:${ip}` : ip, port }
}

/** What is no address is the unspecified one. */
function addressBytes(ip: string): Buffer {
  if (isIPv4(ip)) return Buffer.from(ip.split('.').map(Number))
  if (!isIPv6(ip)) return Buffer.alloc(16)
  const hex = ip.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...parts: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = parts.slice(0, 4).map(Number)
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
  })
  const [front = '', back] = hex.replace(/%.*$/, '').split('::')
  const words = (text: string): string[] => (text === '' ? [] : text.split(':'))
  const [left, right] = [words(front), words(back ?? '')]
  const all = [...left, ...Array.from({ length: 8 - left.length - right.length }, () => '0'), ...right]
  return Buffer.from(all.map((word) => word.padStart(4, '0')).join(''), 'hex')
}
