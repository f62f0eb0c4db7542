// SPDX-License-Identifier: Apache-2.0
// Pipes that bulk goes through from one socket into another one without being copied: the kernel moves references to its
// pages. A pipe is borrowed for one read and given back as soon as the other socket has taken all, so a few serve
// all connections of a worker. Who gets none copies.
import type { DescriptorTable } from './descriptor-table.ts'
import {
  F_GETPIPE_SZ,
  F_SETPIPE_SZ,
  O_CLOEXEC,
  O_NONBLOCK,
  SPLICE_F_MOVE,
  SPLICE_F_NONBLOCK,
} from './ffi/constants.ts'
import { close, E, errno, fcntl, pipe2, splice } from './ffi/libc.ts'
import { allocateBlock } from './ffi/native.ts'

/** What a pipe is asked to hold: what one read takes, and what a reader that stopped keeps. Of small segments less fits. */
export const PIPE_BYTES = 262_144
/** Pipes of one worker with bytes for sockets that have no room; bulk to more of them than that is copied. */
export const MAX_PIPES = 64
/** Empty ones that are kept for the next read. */
const MAX_IDLE_PIPES = 4

/** The kernel has no such call for this kind of descriptor, or not now. */
const CANNOT: readonly number[] = [E.INVAL, E.NOMEM]

/** A pipe of ours, both ends. Made by PipePool. */
export class Pipe {
  readonly readFd: number
  readonly writeFd: number
  readonly capacityBytes: number
  /** What is in it. */
  byteLength = 0

  constructor(readFd: number, writeFd: number, capacityBytes: number) {
    this.readFd = readFd
    this.writeFd = writeFd
    this.capacityBytes = capacityBytes
  }

  /** Takes at most so much off a socket. As read(2), with errno; null: this has to be copied. The pipe must be empty. */
  fill(socket: number, mostBytes: number): number | null {
    const most = Math.min(mostBytes, this.capacityBytes)
    const count = splice(socket, 0, this.writeFd, 0, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
    if (count > 0) this.byteLength = count
    return count < 0 && CANNOT.includes(errno()) ? null : count
  }

  /** Hands a socket what it takes of the content. As send(2), with errno. */
  drain(socket: number): number {
    const count = splice(this.readFd, 0, socket, 0, this.byteLength, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
    if (count > 0) this.byteLength -= count
    return count
  }
}

/** The pipes of one reactor. */
export class PipePool {
  readonly #descriptors: DescriptorTable
  readonly #idle: Pipe[] = []
  readonly #pair = allocateBlock(8)
  /** Pipes handed out and not given back; zero when no socket waits for room. */
  takenPipes = 0

  /** `descriptors`: where its ends are written down as owned. */
  constructor(descriptors: DescriptorTable) {
    this.#descriptors = descriptors
  }

  /** An empty pipe; null when there are enough, or no descriptors. */
  take(): Pipe | null {
    if (this.takenPipes >= MAX_PIPES) return null
    const pipe = this.#idle.pop() ?? this.#create()
    if (pipe !== null) this.takenPipes++
    return pipe
  }

  /** What is still in it is thrown away. Leaves errno alone when it is empty and few are idle. */
  give(pipe: Pipe): void {
    this.takenPipes--
    if (pipe.byteLength === 0 && this.#idle.length < MAX_IDLE_PIPES) this.#idle.push(pipe)
    else this.#close(pipe)
  }

  /** Closes those that are not in use. */
  trim(): void {
    for (const pipe of this.#idle) this.#close(pipe)
    this.#idle.length = 0
  }

  #create(): Pipe | null {
    const { address, bytes } = this.#pair
    if (pipe2(address, O_NONBLOCK | O_CLOEXEC) !== 0) return null
    const [readFd, writeFd] = [bytes.readInt32LE(0), bytes.readInt32LE(4)]
    this.#descriptors.add(readFd)
    this.#descriptors.add(writeFd)
    fcntl(writeFd, F_SETPIPE_SZ, PIPE_BYTES) // refused to who has too many pages in pipes: then it stays smaller
    return new Pipe(readFd, writeFd, fcntl(writeFd, F_GETPIPE_SZ, 0))
  }

  #close({ readFd, writeFd }: Pipe): void {
    for (const fd of [readFd, writeFd]) {
      this.#descriptors.remove(fd)
      close(fd)
    }
  }
}
