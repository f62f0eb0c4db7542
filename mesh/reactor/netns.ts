// SPDX-License-Identifier: Apache-2.0
// Network namespaces: a socket belongs to the namespace of the thread that made it, so the thread enters a pod's
// namespace around socket() only. Failing to come back would put every later socket into the wrong pod: that
// aborts the process.
import { closeSync, fstatSync, openSync, statSync } from 'node:fs'
import { reasonOfOpen } from '../errors/errno.ts'
import { MeshError } from '../errors/mesh-error.ts'
import { CLONE_NEWNET } from './ffi/constants.ts'
import { close, setns, unshare } from './ffi/libc.ts'
import { systemError } from './socket-options.ts'

const SELF = '/proc/thread-self/ns/net'

/** Identity of a namespace: equal numbers mean the same namespace. */
function currentInode(): number {
  return statSync(SELF).ino
}

/** The thread's own namespace, opened once per thread on first use. */
interface HomeNamespace {
  readonly fd: number
  readonly inode: number
}
let home: HomeNamespace | null = null

function homeNamespace(): HomeNamespace {
  home ??= { fd: openSync(SELF, 'r'), inode: currentInode() }
  return home
}

/** A handle on a pod's network namespace. Owns its descriptor: close() it when the pod ends. */
export class NetworkNamespace {
  readonly fd: number
  readonly inode: number
  readonly #device: number
  readonly #isOpenedHere: boolean

  private constructor(fd: number, isOpenedHere: boolean) {
    const { ino, dev } = fstatSync(fd)
    this.fd = fd
    this.inode = ino
    this.#device = dev
    this.#isOpenedHere = isOpenedHere
  }

  /** Opens a namespace by path (`/run/netns/x`, `/proc/PID/ns/net`). @throws NAMESPACE_GONE, OUT_OF_DESCRIPTORS, MISSING_CAPABILITY */
  static open(path: string): NetworkNamespace {
    try {
      return new NetworkNamespace(openSync(path, 'r'), true)
    } catch (cause) {
      throw new MeshError(reasonOfOpen(cause) ?? 'NAMESPACE_GONE', { detail: path, cause })
    }
  }

  /** Wraps a descriptor that was received or is owned by the process already. */
  static fromDescriptor(fd: number): NetworkNamespace {
    return new NetworkNamespace(fd, false)
  }

  /** Makes a new, empty namespace. It lives as long as the handle or a process in it. @throws MISSING_CAPABILITY */
  static create(): NetworkNamespace {
    const origin = homeNamespace()
    if (unshare(CLONE_NEWNET) !== 0) throw systemError('unshare')
    try {
      return NetworkNamespace.open(SELF)
    } finally {
      returnHome(origin)
    }
  }

  /** True when both are handles on one namespace, by whatever paths they were opened. */
  isSame(other: NetworkNamespace): boolean {
    return this.inode === other.inode && this.#device === other.#device
  }

  /** A path by which other processes of the same user can open this namespace while we live. */
  get path(): string {
    return `/proc/${process.pid}/fd/${this.fd}`
  }

  /** Runs `action` inside. It must be synchronous and short. @throws NAMESPACE_GONE, MISSING_CAPABILITY and what `action` throws. */
  run<T>(action: () => T): T {
    const origin = homeNamespace()
    if (setns(this.fd, CLONE_NEWNET) !== 0) {
      const cause = systemError('setns')
      if (cause.code === 'MISSING_CAPABILITY') throw cause
      throw new MeshError('NAMESPACE_GONE', { detail: cause.detail, cause })
    }
    try {
      return action()
    } finally {
      returnHome(origin)
    }
  }

  close(): void {
    // In a worker node keeps book of what its own open() returned, and warns of every other number.
    if (this.#isOpenedHere) closeSync(this.fd)
    else close(this.fd)
  }
}

function returnHome(origin: HomeNamespace): void {
  // The inode is compared too: setns could succeed on a descriptor that somebody replaced.
  if (setns(origin.fd, CLONE_NEWNET) === 0 && currentInode() === origin.inode) return
  process.abort()
}
