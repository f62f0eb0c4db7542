// SPDX-License-Identifier: Apache-2.0
// Socket options and creation, each a small typed call. Errors throw MeshError(SYSTEM_CALL | MISSING_CAPABILITY |
// OUT_OF_DESCRIPTORS) naming the call: options are set on our own sockets, so a failure is never the peer's doing.

import { MeshError } from '../errors/mesh-error.ts'
import type { ReasonCode } from '../errors/reasons.ts'
import { formatSocketAddress } from '../net/address.ts'
import type { Block } from './byte-stream.ts'
import * as c from './ffi/constants.ts'
import {
  connect,
  describeErrno,
  E,
  errno,
  getpeername,
  getsockname,
  getsockopt,
  setsockopt,
  socket,
} from './ffi/libc.ts'
import { allocateBlock } from './ffi/native.ts'
import {
  decodeSocketAddress,
  encodeSocketAddress,
  isIpv6,
  SOCKADDR_BYTES,
  type SocketAddress,
} from './socket-address.ts'

const value: Block = allocateBlock(SOCKADDR_BYTES)
const length: Block = allocateBlock(4)

/** The error of a failed call: call it in the statement after the call. */
export function systemError(call: string, code = errno()): MeshError {
  const reasons: Readonly<Record<number, ReasonCode>> = {
    [E.MFILE]: 'OUT_OF_DESCRIPTORS',
    [E.NFILE]: 'OUT_OF_DESCRIPTORS',
    [E.PERM]: 'MISSING_CAPABILITY',
    [E.ACCES]: 'MISSING_CAPABILITY',
    [E.ADDRINUSE]: 'PORT_TAKEN',
  }
  const detail = `${call}: ${describeErrno(code)} (errno ${code})`
  return new MeshError(reasons[code] ?? 'SYSTEM_CALL', { detail })
}

/** Creates a non-blocking, close-on-exec socket. @throws OUT_OF_DESCRIPTORS, MISSING_CAPABILITY, SYSTEM_CALL */
export function createSocket(domain: number, type: number, protocol = 0): number {
  const fd = socket(domain, type | c.SOCK_NONBLOCK | c.SOCK_CLOEXEC, protocol)
  if (fd < 0) throw systemError('socket')
  return fd
}

function setInt(fd: number, level: number, name: number, number: number, call: string): void {
  value.bytes.writeInt32LE(number, 0)
  if (setsockopt(fd, level, name, value.address, 4) !== 0) throw systemError(`setsockopt ${call}`)
}

/** Reads an integer option. @throws SYSTEM_CALL */
export function getIntOption(fd: number, level: number, name: number): number {
  length.bytes.writeUInt32LE(4, 0)
  if (getsockopt(fd, level, name, value.address, length.address) !== 0) throw systemError('getsockopt')
  return value.bytes.readInt32LE(0)
}

export function setNoDelay(fd: number): void {
  setInt(fd, c.IPPROTO_TCP, c.TCP_NODELAY, 1, 'TCP_NODELAY')
}
/** SO_MARK needs NET_ADMIN. */
export function setMark(fd: number, mark: number): void {
  setInt(fd, c.SOL_SOCKET, c.SO_MARK, mark, 'SO_MARK')
}
export function setReuseAddress(fd: number): void {
  setInt(fd, c.SOL_SOCKET, c.SO_REUSEADDR, 1, 'SO_REUSEADDR')
}
export function setReusePort(fd: number): void {
  setInt(fd, c.SOL_SOCKET, c.SO_REUSEPORT, 1, 'SO_REUSEPORT')
}
export function setIpv6Only(fd: number, isOnly: boolean): void {
  setInt(fd, c.IPPROTO_IPV6, c.IPV6_V6ONLY, isOnly ? 1 : 0, 'IPV6_V6ONLY')
}
/** ICMP errors come back, with the address they are about. */
export function setDatagramErrors(fd: number, family: number): void {
  setInt(fd, c.IPPROTO_IP, c.IP_RECVERR, 1, 'IP_RECVERR') // for IPv4 peers of a dual-stack socket too
  if (family === c.AF_INET6) setInt(fd, c.IPPROTO_IPV6, c.IPV6_RECVERR, 1, 'IPV6_RECVERR')
}
/** A datagram's own destination comes with it, and what became of those that were sent. */
export function setDatagramFacts(fd: number, family: number): void {
  setDatagramErrors(fd, family)
  if (family === c.AF_INET6) setInt(fd, c.IPPROTO_IPV6, c.IPV6_RECVPKTINFO, 1, 'IPV6_RECVPKTINFO')
  else setInt(fd, c.IPPROTO_IP, c.IP_PKTINFO, 1, 'IP_PKTINFO')
}
export function setReceiveBuffer(fd: number, bytes: number): void {
  setInt(fd, c.SOL_SOCKET, c.SO_RCVBUF, bytes, 'SO_RCVBUF')
}
/** Lets a socket use addresses that are not of this machine (needs NET_ADMIN or NET_RAW). */
export function setTransparent(fd: number, family: number): void {
  if (family === c.AF_INET6) {
    setInt(fd, c.IPPROTO_IPV6, c.IPV6_TRANSPARENT, 1, 'IPV6_TRANSPARENT')
    setInt(fd, c.IPPROTO_IPV6, c.IPV6_FREEBIND, 1, 'IPV6_FREEBIND')
    return
  }
  setInt(fd, c.IPPROTO_IP, c.IP_TRANSPARENT, 1, 'IP_TRANSPARENT')
  setInt(fd, c.IPPROTO_IP, c.IP_FREEBIND, 1, 'IP_FREEBIND')
}
/** Chooses the source port at connect time: otherwise every bound source uses up a port of its own. */
export function setBindWithoutPort(fd: number): void {
  setInt(fd, c.IPPROTO_IP, c.IP_BIND_ADDRESS_NO_PORT, 1, 'IP_BIND_ADDRESS_NO_PORT')
}
/** close() then resets the connection instead of ending it in order. */
export function setResetOnClose(fd: number): void {
  value.bytes.writeInt32LE(1, 0)
  value.bytes.writeInt32LE(0, 4)
  setsockopt(fd, c.SOL_SOCKET, c.SO_LINGER, value.address, 8) // may fail on a dead socket: nothing to reset then
}

/** Keepalive settings; seconds. */
export interface Keepalive {
  readonly idleSeconds: number
  readonly intervalSeconds: number
  readonly probes: number
}
/** What Istio's ztunnel uses on both legs. */
export const DEFAULT_KEEPALIVE: Keepalive = { idleSeconds: 180, intervalSeconds: 180, probes: 9 }

export function setKeepalive(fd: number, keepalive: Keepalive): void {
  setInt(fd, c.SOL_SOCKET, c.SO_KEEPALIVE, 1, 'SO_KEEPALIVE')
  setInt(fd, c.IPPROTO_TCP, c.TCP_KEEPIDLE, keepalive.idleSeconds, 'TCP_KEEPIDLE')
  setInt(fd, c.IPPROTO_TCP, c.TCP_KEEPINTVL, keepalive.intervalSeconds, 'TCP_KEEPINTVL')
  setInt(fd, c.IPPROTO_TCP, c.TCP_KEEPCNT, keepalive.probes, 'TCP_KEEPCNT')
}

/** Datagrams of others do not arrive any more; the kernel tells when nobody takes ours. @throws SYSTEM_CALL */
export function connectDatagrams(fd: number, peer: SocketAddress): void {
  const address = encodeSocketAddress(peer.ip, peer.port)
  if (connect(fd, address.address, address.bytes) !== 0)
    throw systemError(`connect ${formatSocketAddress(peer.ip, peer.port)} udp`)
}

/** SO_ERROR: the result of a connect, errno value or 0; reading clears it. */
export function takeSocketError(fd: number): number {
  return getIntOption(fd, c.SOL_SOCKET, c.SO_ERROR)
}

type NameCall = (fd: number, address: number, bytes: number) => number
function nameOf(call: NameCall, fd: number): SocketAddress | null {
  length.bytes.writeUInt32LE(SOCKADDR_BYTES, 0)
  if (call(fd, value.address, length.address) !== 0) return null
  return decodeSocketAddress(value.bytes)
}

/** Our own address; null when the socket has none. */
export function localAddress(fd: number): SocketAddress | null {
  return nameOf(getsockname, fd)
}
/** The peer's address; null when not connected. */
export function peerAddress(fd: number): SocketAddress | null {
  return nameOf(getpeername, fd)
}

/**
 * Where a redirected connection wanted to go; null when it was not redirected (or conntrack forgot it).
 * `ip` is any address of the connection: it tells which of the two tables to ask.
 */
export function originalDestination(fd: number, ip: string): SocketAddress | null {
  const level = isIpv6(ip) ? c.IPPROTO_IPV6 : c.IPPROTO_IP
  length.bytes.writeUInt32LE(SOCKADDR_BYTES, 0)
  if (getsockopt(fd, level, c.SO_ORIGINAL_DST, value.address, length.address) !== 0) return null
  return decodeSocketAddress(value.bytes)
}
