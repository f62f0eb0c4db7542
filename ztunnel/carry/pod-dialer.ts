// SPDX-License-Identifier: Apache-2.0
// Makes the sockets a pod's connections need: inside its namespace, marked as the mesh's own, and where wanted with
// the client's address as source. Entering a namespace costs two system calls and a check, so sockets are made in
// small batches.

import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { formatSocketAddress } from '../../mesh/net/address.ts'
import type { DescriptorTable } from '../../mesh/reactor/descriptor-table.ts'
import { AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM } from '../../mesh/reactor/ffi/constants.ts'
import { bind, close, E, errno } from '../../mesh/reactor/ffi/libc.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { encodeSocketAddress, isIpv6, type SocketAddress } from '../../mesh/reactor/socket-address.ts'
import {
  connectDatagrams,
  createSocket,
  type Keepalive,
  setBindWithoutPort,
  setDatagramErrors,
  setKeepalive,
  setMark,
  setTransparent,
  systemError,
} from '../../mesh/reactor/socket-options.ts'

/** SPEC wire-protocols §5.2: packets of the mesh itself, which the redirect rules leave alone. */
const MESH_MARK = 0x539
/** Below the ports that Linux, and what follows IANA, give to clients (32,768 and above). */
const APART_FIRST_PORT = 10_000
const APART_LAST_PORT = 32_767
/** Ports that are tried before the kernel chooses: half of them taken makes a miss of one in 250. */
const APART_ATTEMPTS = 8
/** Sockets made per visit of the namespace. */
const BATCH = 8
/** With so few sockets of datagrams left, the next ones are made while nobody waits for them. */
const FEW = BATCH / 2

/** The socket maker of one pod in one worker. */
export class PodDialer {
  readonly #namespace: NetworkNamespace | null
  readonly #descriptors: DescriptorTable
  readonly #keepalive: Keepalive
  /** By type, then family. Unbound: nothing can be sent to one before it is used. */
  readonly #spares = new Map<number, Map<number, number[]>>()

  /** `namespace` null: the pod shares the host's; sockets are then neither marked nor given a foreign source. */
  constructor(namespace: NetworkNamespace | null, descriptors: DescriptorTable, keepalive: Keepalive) {
    this.#namespace = namespace
    this.#descriptors = descriptors
    this.#keepalive = keepalive
  }

  /**
   * A socket for `ip`, from `sourceIp` if not null; the caller owns it. `isClientPlain`: the owner of that address has a
   * connection of its own to `ip`, which must not be taken for this one.
   * @throws NAMESPACE_GONE, OUT_OF_DESCRIPTORS, MISSING_CAPABILITY, SYSTEM_CALL
   */
  open(ip: string, sourceIp: string | null, isClientPlain = false): number {
    const family = isIpv6(ip) ? AF_INET6 : AF_INET
    if (this.#namespace === null) return createHostSocket(family, this.#keepalive)
    const fd = this.#take(this.#namespace, family, SOCK_STREAM)
    try {
      if (sourceIp !== null && isIpv6(sourceIp) === isIpv6(ip))
        bindSource(fd, family, sourceIp, isClientPlain)
      return fd
    } catch (error) {
      close(fd)
      throw error
    }
  }

  /** True when `ip` is an address of the pod's own: only then does a connect from inside stay inside. */
  owns(ip: string): boolean {
    if (this.#namespace === null) return false
    const fd = this.#take(this.#namespace, isIpv6(ip) ? AF_INET6 : AF_INET, SOCK_STREAM)
    const address = encodeSocketAddress(ip, 0)
    const isOwn = bind(fd, address.address, address.bytes) === 0
    close(fd)
    return isOwn
  }

  /**
   * A socket of datagrams to and from `peer` alone; the caller owns it.
   * @throws NAMESPACE_GONE (also when the pod has none), OUT_OF_DESCRIPTORS, MISSING_CAPABILITY, SYSTEM_CALL (no route)
   */
  openDatagrams(peer: SocketAddress): number {
    if (this.#namespace === null) throw new MeshError('NAMESPACE_GONE', { detail: 'a pod without one' })
    const fd = this.#take(this.#namespace, isIpv6(peer.ip) ? AF_INET6 : AF_INET, SOCK_DGRAM)
    try {
      connectDatagrams(fd, peer)
      return fd
    } catch (error) {
      close(fd)
      throw error
    }
  }

  /** Makes sockets of datagrams for the next questions, where the last ones have used them up. Never throws. */
  replenish(): void {
    const namespace = this.#namespace
    if (namespace === null) return
    for (const [family, spare] of this.#spares.get(SOCK_DGRAM) ?? []) {
      if (spare.length >= FEW) continue
      try {
        this.#fill(namespace, family, SOCK_DGRAM, spare)
      } catch (error) {
        if (!(error instanceof MeshError)) throw error // who needs one is told why there is none
      }
    }
  }

  #take(namespace: NetworkNamespace, family: number, type: number): number {
    let ofType = this.#spares.get(type)
    if (ofType === undefined) {
      ofType = new Map()
      this.#spares.set(type, ofType)
    }
    let spare = ofType.get(family)
    if (spare === undefined) {
      spare = []
      ofType.set(family, spare)
    }
    if (spare.length === 0) this.#fill(namespace, family, type, spare)
    const fd = spare.pop()
    if (fd === undefined) throw systemError('socket')
    this.#descriptors.remove(fd)
    return fd
  }

  #fill(namespace: NetworkNamespace, family: number, type: number, spare: number[]): void {
    namespace.run(() => {
      for (let i = 0; i < BATCH; i++) {
        const fd = createSocket(family, type)
        this.#descriptors.add(fd)
        spare.push(fd)
        setMark(fd, MESH_MARK)
        if (type === SOCK_STREAM) setKeepalive(fd, this.#keepalive)
        else setDatagramErrors(fd, family)
      }
    })
  }

  close(): void {
    const all = [...this.#spares.values()].flatMap((ofType) => [...ofType.values()])
    for (const fd of all.flatMap((spare) => spare.splice(0))) {
      this.#descriptors.remove(fd)
      close(fd)
    }
  }
}

function createHostSocket(family: number, keepalive: Keepalive): number {
  const fd = createSocket(family, SOCK_STREAM)
  setKeepalive(fd, keepalive)
  return fd
}

function bindSource(fd: number, family: number, sourceIp: string, isClientPlain: boolean): void {
  setTransparent(fd, family)
  if (isClientPlain && bindApart(fd, sourceIp)) return
  setBindWithoutPort(fd)
  const address = encodeSocketAddress(sourceIp, 0)
  if (bind(fd, address.address, address.bytes) !== 0) throw systemError(`bind ${sourceIp}`)
}

/**
 * In the pod's connection table the client's own connection to the pod and this one may differ in nothing but the client's
 * port: equal ports are one entry, and neither gets through. So ports are taken that clients do not use. False: none was free.
 */
function bindApart(fd: number, sourceIp: string): boolean {
  for (let attempt = 0; attempt < APART_ATTEMPTS; attempt++) {
    const port = APART_FIRST_PORT + Math.floor(Math.random() * (APART_LAST_PORT - APART_FIRST_PORT + 1))
    const address = encodeSocketAddress(sourceIp, port)
    if (bind(fd, address.address, address.bytes) === 0) return true
    if (errno() !== E.ADDRINUSE) throw systemError(`bind ${formatSocketAddress(sourceIp, port)}`)
  }
  return false
}

/** What a failed system call means for the connection it was made for. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof MeshError) return refuse(error.code, error.detail)
  throw error
}
