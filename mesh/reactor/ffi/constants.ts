// SPDX-License-Identifier: Apache-2.0
// Kernel constants and struct layouts. Layouts that differ per architecture are in one table (LAYOUT), which
// the self-test checks at start.
import { MeshError } from '../../errors/mesh-error.ts'

export const AF_UNIX = 1
export const AF_INET = 2
export const AF_INET6 = 10
export const AF_NETLINK = 16
export const SOCK_STREAM = 1
export const SOCK_DGRAM = 2
export const SOCK_RAW = 3
export const SOCK_SEQPACKET = 5
export const SOCK_NONBLOCK = 0x800
export const SOCK_CLOEXEC = 0x80000
export const SHUT_WR = 1
export const SHUT_RDWR = 2
export const MSG_NOSIGNAL = 0x4000
export const MSG_DONTWAIT = 0x40
export const MSG_CMSG_CLOEXEC = 0x40000000
export const MSG_CTRUNC = 0x8
export const MSG_TRUNC = 0x20
export const MSG_ERRQUEUE = 0x2000
export const F_SETFL = 4
export const F_GETFL = 3
export const F_GETFD = 1
export const F_SETFD = 2
export const F_SETPIPE_SZ = 1031
export const F_GETPIPE_SZ = 1032
export const O_NONBLOCK = 0x800
export const O_CLOEXEC = 0x80000

/** As hints go: move pages instead of copying them where that is possible; and wait for nothing. */
export const SPLICE_F_MOVE = 1
export const SPLICE_F_NONBLOCK = 2

export const SOL_SOCKET = 1
export const SO_REUSEADDR = 2
export const SO_ERROR = 4
export const SO_SNDBUF = 7
export const SO_RCVBUF = 8
export const SO_KEEPALIVE = 9
export const SO_LINGER = 13
export const SO_REUSEPORT = 15
export const SO_ACCEPTCONN = 30
export const SO_MARK = 36
export const IPPROTO_IP = 0
export const IPPROTO_TCP = 6
export const IPPROTO_IPV6 = 41
export const IP_PKTINFO = 8
export const IP_RECVERR = 11
export const IP_FREEBIND = 15
export const IP_TRANSPARENT = 19
export const IP_BIND_ADDRESS_NO_PORT = 24
export const IPV6_RECVERR = 25
export const IPV6_V6ONLY = 26
export const IPV6_RECVPKTINFO = 49
export const IPV6_PKTINFO = 50
export const IPV6_TRANSPARENT = 75
export const IPV6_FREEBIND = 78
/** SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST (linux/netfilter_ipv4.h, netfilter_ipv6/ip6_tables.h). */
export const SO_ORIGINAL_DST = 80
export const TCP_NODELAY = 1
export const TCP_KEEPIDLE = 4
export const TCP_KEEPINTVL = 5
export const TCP_KEEPCNT = 6
export const TCP_DEFER_ACCEPT = 9
export const TCP_USER_TIMEOUT = 18

export const EPOLL_CLOEXEC = 0x80000
export const EPOLL_CTL_ADD = 1
export const EPOLL_CTL_DEL = 2
export const EPOLL_CTL_MOD = 3
export const EPOLLIN = 0x1
export const EPOLLOUT = 0x4
export const EPOLLERR = 0x8
export const EPOLLHUP = 0x10
export const EPOLLRDHUP = 0x2000
export const EPOLLEXCLUSIVE = 0x10000000
export const EFD_NONBLOCK = 0x800
export const EFD_CLOEXEC = 0x80000
export const CLONE_NEWNET = 0x40000000

/** struct epoll_event: packed on x86-64, naturally aligned elsewhere. Offsets in bytes. */
interface EpollLayout {
  readonly eventBytes: number
  readonly dataOffset: number
}
const EPOLL_LAYOUT: Readonly<Record<string, EpollLayout>> = {
  x64: { eventBytes: 12, dataOffset: 4 },
  arm64: { eventBytes: 16, dataOffset: 8 },
}

/** Numbers of system calls that older C libraries do not wrap. */
const SYSTEM_CALLS: Readonly<Record<string, { readonly schedSetattr: number }>> = {
  x64: { schedSetattr: 314 },
  arm64: { schedSetattr: 274 },
}

/** Number of sched_setattr on this machine; undefined on an architecture nobody has checked. */
export function schedSetattrNumber(architecture: string = process.arch): number | undefined {
  return SYSTEM_CALLS[architecture]?.schedSetattr
}

/** Layouts of this machine. @throws NATIVE_UNSUPPORTED on an architecture nobody has checked. */
export function epollLayout(architecture: string = process.arch): EpollLayout {
  const layout = EPOLL_LAYOUT[architecture]
  if (layout === undefined) {
    throw new MeshError('NATIVE_UNSUPPORTED', { detail: `architecture ${architecture} is not supported` })
  }
  return layout
}
