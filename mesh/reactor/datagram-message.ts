// SPDX-License-Identifier: Apache-2.0
// struct msghdr of one datagram, with the control messages that tell where it was sent to (IP_PKTINFO) and what became
// of an earlier one (IP_RECVERR). One per direction and thread: system calls are synchronous, so nothing is copied.
// SPEC ip(7), ipv6(7), recvmsg(2), cmsg(3); layouts are those of 64-bit Linux.
import type { Block } from './byte-stream.ts'
import {
  IP_PKTINFO,
  IP_RECVERR,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_PKTINFO,
  IPV6_RECVERR,
} from './ffi/constants.ts'
import { allocateBlock, type Pointer } from './ffi/native.ts'
import {
  decodeSocketAddress,
  encodeSocketAddress,
  ipv4TextAt,
  ipv6TextAt,
  isIpv6,
  SOCKADDR_BYTES,
  type SocketAddress,
} from './socket-address.ts'

/** msghdr: name 0, namelen 8, iov 16, iovlen 24, control 32, controllen 40, flags 48; then one iovec. */
const MSGHDR_BYTES = 56
const NAME_AT = MSGHDR_BYTES + 16
const CONTROL_AT = NAME_AT + 32
const CMSGHDR_BYTES = 16
/** Room for a packet info and an extended error with the address of whoever reported it. */
const CONTROL_BYTES = 256
const IN_PKTINFO_BYTES = 12
const IN6_PKTINFO_BYTES = 20

/** One native message header with room for an address and control messages. */
export class DatagramMessage {
  readonly #block: Block = allocateBlock(CONTROL_AT + CONTROL_BYTES)
  readonly #peerBytes = Buffer.alloc(SOCKADDR_BYTES)
  #peer: SocketAddress | null = null

  constructor() {
    this.#block.bytes.fill(0)
    this.#setPointer(16, this.#block.address + MSGHDR_BYTES)
    this.#block.bytes.writeUInt32LE(1, 24)
  }

  get address(): Pointer {
    return this.#block.address
  }

  /** Flags that recvmsg set. */
  get flags(): number {
    return this.#block.bytes.readInt32LE(48)
  }

  /** Gets ready to receive into `[pointer, +byteLength)`. */
  prepareReceive(pointer: Pointer, byteLength: number): void {
    this.#setName(SOCKADDR_BYTES)
    this.#setPayload(pointer, byteLength)
    this.#setControl(CONTROL_BYTES)
  }

  /**
   * Gets ready to send. `source` null lets the kernel choose our address. `isIpv6Socket`: the socket is of AF_INET6,
   * which sees IPv4 addresses in their mapped form.
   */
  prepareSend(
    pointer: Pointer,
    byteLength: number,
    peer: SocketAddress,
    source: SocketAddress | null,
    isIpv6Socket: boolean,
  ): void {
    const bytes = this.#block.bytes
    const name = encodeSocketAddress(peer.ip, peer.port, isIpv6Socket)
    name.copyTo(bytes, NAME_AT)
    this.#setName(name.bytes)
    this.#setPayload(pointer, byteLength)
    if (source === null) this.#setControl(0)
    else this.#setSource(source.ip, isIpv6Socket)
  }

  /** The peer: who sent what was received, or to whom the failed datagram was sent. Same bytes, same object. */
  peer(): SocketAddress | null {
    const bytes = this.#block.bytes
    const known = this.#peerBytes
    if (bytes.compare(known, 0, SOCKADDR_BYTES, NAME_AT, NAME_AT + SOCKADDR_BYTES) !== 0) {
      bytes.copy(known, 0, NAME_AT, NAME_AT + SOCKADDR_BYTES)
      this.#peer = decodeSocketAddress(known)
    }
    return this.#peer
  }

  /** The address the received datagram was sent to; '' when unknown. */
  destinationIp(): string {
    // in_pktinfo: interface, the local address that answers for it, the destination in the header
    const at4 = this.#find(IPPROTO_IP, IP_PKTINFO, IN_PKTINFO_BYTES) + 8
    if (at4 >= 8) return ipv4TextAt(this.#block.bytes, at4)
    const at6 = this.#find(IPPROTO_IPV6, IPV6_PKTINFO, IN6_PKTINFO_BYTES)
    return at6 < 0 ? '' : ipv6TextAt(this.#block.bytes, at6)
  }

  /** errno of the extended error that was received, 0 when there is none. */
  extendedError(): number {
    let at = this.#find(IPPROTO_IP, IP_RECVERR, 4)
    if (at < 0) at = this.#find(IPPROTO_IPV6, IPV6_RECVERR, 4)
    return at < 0 ? 0 : this.#block.bytes.readUInt32LE(at)
  }

  /** Offset of the content of a control message, -1 when it is missing or too short. */
  #find(level: number, type: number, minBytes: number): number {
    const bytes = this.#block.bytes
    const end = CONTROL_AT + Math.min(bytes.readUInt32LE(40), CONTROL_BYTES)
    for (let at = CONTROL_AT; at + CMSGHDR_BYTES <= end; ) {
      const length = bytes.readUInt32LE(at)
      if (length < CMSGHDR_BYTES || at + length > end) return -1
      const isWanted = bytes.readInt32LE(at + 8) === level && bytes.readInt32LE(at + 12) === type
      if (isWanted) return length >= CMSGHDR_BYTES + minBytes ? at + CMSGHDR_BYTES : -1
      at += (length + 7) & ~7
    }
    return -1
  }

  #setSource(ip: string, isIpv6Socket: boolean): void {
    const bytes = this.#block.bytes
    const isV6 = isIpv6Socket || isIpv6(ip)
    const length = CMSGHDR_BYTES + (isV6 ? IN6_PKTINFO_BYTES : IN_PKTINFO_BYTES)
    const source = encodeSocketAddress(ip, 0, isV6)
    bytes.fill(0, CONTROL_AT, CONTROL_AT + 48)
    bytes.writeUInt32LE(length, CONTROL_AT)
    bytes.writeInt32LE(isV6 ? IPPROTO_IPV6 : IPPROTO_IP, CONTROL_AT + 8)
    bytes.writeInt32LE(isV6 ? IPV6_PKTINFO : IP_PKTINFO, CONTROL_AT + 12)
    const content = CONTROL_AT + CMSGHDR_BYTES
    // sockaddr_in6 has its address at 8, sockaddr_in at 4; in_pktinfo takes the source in its second word.
    if (isV6) source.copyTo(bytes, content, 8, 24)
    else source.copyTo(bytes, content + 4, 4, 8)
    this.#setControl((length + 7) & ~7)
  }

  #setName(byteLength: number): void {
    this.#setPointer(0, this.#block.address + NAME_AT)
    this.#block.bytes.writeUInt32LE(byteLength, 8)
  }

  #setPayload(pointer: Pointer, byteLength: number): void {
    this.#setPointer(MSGHDR_BYTES, pointer)
    this.#block.bytes.writeUInt32LE(byteLength, MSGHDR_BYTES + 8)
  }

  #setControl(byteLength: number): void {
    this.#setPointer(32, byteLength === 0 ? 0 : this.#block.address + CONTROL_AT)
    this.#block.bytes.writeUInt32LE(byteLength, 40)
    this.#block.bytes.writeInt32LE(0, 48)
  }

  /** Two halves: a BigInt would be an allocation per datagram. */
  #setPointer(at: number, pointer: Pointer): void {
    this.#block.bytes.writeUInt32LE(pointer % 0x1_0000_0000, at)
    this.#block.bytes.writeUInt32LE(Math.floor(pointer / 0x1_0000_0000), at + 4)
  }
}
