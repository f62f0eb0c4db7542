// SPDX-License-Identifier: Apache-2.0
// Unix SOCK_SEQPACKET sockets by path: where a channel of descriptor-passing.ts begins when the two processes are not
// parent and child. The socket file is for its own user only; the peer's identity is what the kernel attests.
// SPEC unix(7)
import { fchmodSync, lstatSync, unlinkSync } from 'node:fs'
import { MeshError } from '../errors/mesh-error.ts'
import { DescriptorPoll } from './descriptor-poll.ts'
import { AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_SEQPACKET, SOL_SOCKET } from './ffi/constants.ts'
import { accept4, bind, close, connect, E, errno, getsockopt, listen } from './ffi/libc.ts'
import { allocateBlock } from './ffi/native.ts'
import { createSocket, systemError } from './socket-options.ts'

const SO_PEERCRED = 17
const SUN_PATH_BYTES = 108
const BACKLOG = 16 // a data process connects once, a handover twice
/** Connections handed on per wake-up: the event loop gets its turn between. */
const MAX_PER_WAKE_UP = 64

/** Who connected, as the kernel attests it. */
export interface PeerCredentials {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

/** Calls `bind` or `connect` with the address of a path; errno or 0. */
function withAddress(call: typeof bind, fd: number, path: string): number {
  const name = Buffer.from(path)
  if (name.length === 0 || name.length >= SUN_PATH_BYTES || name.includes(0)) {
    throw new MeshError('SYSTEM_CALL', { detail: `no socket path: ${JSON.stringify(path)}` })
  }
  const block = allocateBlock(2 + SUN_PATH_BYTES)
  block.bytes.fill(0)
  block.bytes.writeUInt16LE(AF_UNIX, 0)
  block.bytes.set(name, 2)
  return call(fd, block.address, 2 + name.length + 1) === 0 ? 0 : errno()
}

/**
 * A listening, non-blocking socket at `path`, for this user only (mode 0600 from its first moment on). A socket file
 * that nobody listens on any more is replaced. @throws SYSTEM_CALL, also when somebody listens there
 */
export function listenChannel(path: string): number {
  const fd = createSocket(AF_UNIX, SOCK_SEQPACKET)
  try {
    fchmodSync(fd, 0o600) // bind() gives the file the mode of the socket
    let code = withAddress(bind, fd, path)
    if (code === E.ADDRINUSE && isStale(path)) {
      unlinkSync(path)
      code = withAddress(bind, fd, path)
    }
    if (code === E.ADDRINUSE)
      throw new MeshError('SYSTEM_CALL', { detail: `bind ${path}: somebody listens there` })
    if (code !== 0) throw systemError(`bind ${path}`, code)
    if (listen(fd, BACKLOG) !== 0) throw systemError('listen')
    return fd
  } catch (error) {
    close(fd)
    throw error
  }
}

function isStale(path: string): boolean {
  // Connecting to a plain file is refused just the same.
  if (!lstatSync(path).isSocket()) return false
  const probe = createSocket(AF_UNIX, SOCK_SEQPACKET)
  const code = withAddress(connect, probe, path)
  close(probe)
  return code === E.CONNREFUSED
}

/** The next connection of a listener, non-blocking; `again` when there is none. @throws OUT_OF_DESCRIPTORS, SYSTEM_CALL */
export function acceptChannel(listener: number): number | 'again' {
  const fd = accept4(listener, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC)
  if (fd >= 0) return fd
  const code = errno()
  if (code === E.AGAIN || code === E.INTR || code === E.CONNABORTED) return 'again'
  throw systemError('accept4', code)
}

/** Connects to a listener, non-blocking. @throws SYSTEM_CALL when nobody listens */
export function connectChannel(path: string): number {
  const fd = createSocket(AF_UNIX, SOCK_SEQPACKET)
  try {
    const code = withAddress(connect, fd, path)
    if (code !== 0) throw systemError(`connect ${path}`, code)
    return fd
  } catch (error) {
    close(fd)
    throw error
  }
}

/** Who is at the other end (SO_PEERCRED): the process that connected or made the pair. @throws SYSTEM_CALL */
export function peerCredentials(fd: number): PeerCredentials {
  const value = allocateBlock(12)
  const length = allocateBlock(4)
  length.bytes.writeUInt32LE(12, 0)
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value.address, length.address) !== 0) {
    throw systemError('getsockopt SO_PEERCRED')
  }
  const bytes = value.bytes
  return { pid: bytes.readInt32LE(0), uid: bytes.readUInt32LE(4), gid: bytes.readUInt32LE(8) }
}

/** A socket file that others connect to. Owns its descriptor and the file. */
export class ChannelListener {
  readonly #path: string
  #fd: number

  /** Connections are handed over as descriptors, to make a channel of or close. @throws SYSTEM_CALL */
  constructor(path: string, onConnection: (fd: number) => void) {
    this.#path = path
    this.#fd = listenChannel(path)
    DescriptorPoll.shared().watch(this.#fd, () => this.#accept(onConnection))
  }

  /** Idempotent. Connections that were handed over live on. */
  close(): void {
    if (this.#fd < 0) return
    DescriptorPoll.shared().unwatch(this.#fd)
    close(this.#fd)
    this.#fd = -1
    try {
      unlinkSync(this.#path)
    } catch {
      // somebody has removed the file already: it shall be gone, and it is
    }
  }

  #accept(onConnection: (fd: number) => void): void {
    for (let count = 0; count < MAX_PER_WAKE_UP && this.#fd >= 0; count++) {
      const fd = acceptChannel(this.#fd)
      if (fd === 'again') return
      onConnection(fd)
    }
  }
}
