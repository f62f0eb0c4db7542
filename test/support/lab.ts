// SPDX-License-Identifier: Apache-2.0
// A virtual network for one test, torn down with it, and blocking sockets inside its namespaces: a test of packet
// rules reads as a list of connects and accepts, each with a deadline.

import { AF_INET, AF_INET6, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET } from '../../mesh/reactor/ffi/constants.ts'
import {
  accept4,
  bind,
  close,
  connect,
  E,
  errno,
  listen,
  setsockopt,
  socket,
} from '../../mesh/reactor/ffi/libc.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import { VirtualNetwork, type VirtualNetworkSpec } from '../../mesh/reactor/netlink/virtual-network.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { encodeSocketAddress, isIpv6 } from '../../mesh/reactor/socket-address.ts'
import {
  setBindWithoutPort,
  setIpv6Only,
  setMark,
  setReuseAddress,
  setTransparent,
  systemError,
} from '../../mesh/reactor/socket-options.ts'

const SO_RCVTIMEO = 20
const SO_SNDTIMEO = 21
const DEADLINE_SECONDS = 3

/** Something with tap's teardown. */
interface Owner {
  teardown(action: () => void): void
}

/** A network that ends with the test. */
export function createLab(t: Owner, spec: VirtualNetworkSpec): VirtualNetwork {
  const network = VirtualNetwork.create(spec)
  t.teardown(() => network.close())
  return network
}

function blockingSocket(namespace: NetworkNamespace, family: number): number {
  const fd = namespace.run(() => socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0))
  if (fd < 0) throw systemError('socket')
  const timeout = allocateBlock(16)
  timeout.bytes.fill(0)
  timeout.bytes.writeUInt32LE(DEADLINE_SECONDS, 0)
  for (const option of [SO_RCVTIMEO, SO_SNDTIMEO]) setsockopt(fd, SOL_SOCKET, option, timeout.address, 16)
  return fd
}

/** A listening socket on all addresses of a namespace, both families; accept() on it has a deadline. */
export function listenIn(namespace: NetworkNamespace, port: number): number {
  const fd = blockingSocket(namespace, AF_INET6)
  setReuseAddress(fd)
  setIpv6Only(fd, false)
  const address = encodeSocketAddress('::', port)
  if (bind(fd, address.address, address.bytes) !== 0) throw systemError('bind')
  if (listen(fd, 64) !== 0) throw systemError('listen')
  return fd
}

/** How a connection is opened. */
export interface ConnectOptions {
  readonly mark?: number
  /** Our address; need not be of the namespace. */
  readonly source?: string
  /** Of that address; the kernel's choice otherwise. */
  readonly sourcePort?: number
}

/** Connects from a namespace; the errno value (negative) when it fails or takes too long. */
export function connectFrom(
  namespace: NetworkNamespace,
  ip: string,
  port: number,
  options: ConnectOptions = {},
): number {
  const family = isIpv6(ip) ? AF_INET6 : AF_INET
  const fd = blockingSocket(namespace, family)
  if (options.mark !== undefined) setMark(fd, options.mark)
  if (options.source !== undefined) {
    setTransparent(fd, family)
    setBindWithoutPort(fd)
    setReuseAddress(fd)
    const source = encodeSocketAddress(options.source, options.sourcePort ?? 0)
    if (bind(fd, source.address, source.bytes) !== 0) throw systemError('bind')
  }
  const target = encodeSocketAddress(ip, port)
  if (unlessInterrupted(() => connect(fd, target.address, target.bytes)) === 0) return fd
  const code = errno()
  if (code === E.ISCONN) return fd // while it was interrupted
  close(fd)
  return -code
}

/** A call that has a time limit is not taken up again after a signal: signal(7). */
function unlessInterrupted(call: () => number): number {
  for (;;) {
    const result = call()
    if (result >= 0 || errno() !== E.INTR) return result
  }
}

/** The next connection of a listener; throws when none comes in time. */
export function acceptFrom(listener: number): number {
  const fd = unlessInterrupted(() => accept4(listener, 0, 0, SOCK_CLOEXEC))
  if (fd < 0) throw systemError('accept')
  return fd
}
