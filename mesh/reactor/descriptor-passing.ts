// SPDX-License-Identifier: Apache-2.0
// Messages with descriptors (SCM_RIGHTS) over Unix SOCK_SEQPACKET sockets: how listening sockets and namespaces
// travel between processes. A message arrives whole or is an error; a received descriptor has exactly one owner, and
// everything that arrives beside an error is closed here.
// SPEC unix(7), cmsg(3), recvmsg(2); struct layouts are those of 64-bit Linux.
import { MeshError } from '../errors/mesh-error.ts'
import { DescriptorPoll } from './descriptor-poll.ts'
import {
  AF_UNIX,
  EPOLLOUT,
  F_GETFL,
  F_SETFL,
  MSG_CMSG_CLOEXEC,
  MSG_CTRUNC,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  MSG_TRUNC,
  O_NONBLOCK,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
  SOL_SOCKET,
} from './ffi/constants.ts'
import { close, E, errno, fcntl, recvmsg, sendmsg, shutdown, socketpair } from './ffi/libc.ts'
import { addressOf, allocateBlock, type Pointer } from './ffi/native.ts'
import { systemError } from './socket-options.ts'

/** Larger than any message of ours (a snapshot of pods is sent one by one) and well below the send buffer. */
export const MAX_PAYLOAD_BYTES = 65_536
/** Sockets of 21 pods per message; the kernel's own limit is 253. */
export const MAX_DESCRIPTORS = 64

const SCM_RIGHTS = 1
const CMSGHDR_BYTES = 16
const CONTROL_BYTES = CMSGHDR_BYTES + MAX_DESCRIPTORS * 4
/** struct msghdr: name 0, namelen 8, iov 16, iovlen 24, control 32, controllen 40, flags 48. */
const MSGHDR_BYTES = 56
const IOVEC_BYTES = 16

/** Messages that wait for a slow peer: every pod of a node, several times. */
const MAX_QUEUED_MESSAGES = 4096
/** Messages handed on per wake-up: the event loop gets its turn between. */
const MAX_PER_WAKE_UP = 64
const F_DUPFD_CLOEXEC = 1030
const SHUT_RDWR = 2

/** A received message. Its descriptors are the receiver's, close-on-exec. */
export interface DescriptorMessage {
  readonly payload: Buffer
  readonly fds: readonly number[]
}

const header = allocateBlock(MSGHDR_BYTES + IOVEC_BYTES)
const control = allocateBlock(CONTROL_BYTES)
const payloadBlock = allocateBlock(MAX_PAYLOAD_BYTES)

function writePointer(at: number, pointer: Pointer): void {
  header.bytes.writeBigUInt64LE(BigInt(pointer), at)
}

/** Points the thread's msghdr at one buffer and the control block. */
function prepare(payload: Pointer, payloadBytes: number, controlBytes: number): void {
  header.bytes.fill(0)
  writePointer(16, header.address + MSGHDR_BYTES)
  writePointer(24, 1)
  writePointer(32, controlBytes === 0 ? 0 : control.address)
  writePointer(40, controlBytes)
  writePointer(MSGHDR_BYTES, payload)
  writePointer(MSGHDR_BYTES + 8, payloadBytes)
}

/** Two connected, non-blocking ends. @throws OUT_OF_DESCRIPTORS */
export function createChannelPair(): readonly [number, number] {
  const pair = allocateBlock(8)
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair.address) !== 0) {
    throw systemError('socketpair')
  }
  return [pair.bytes.readInt32LE(0), pair.bytes.readInt32LE(4)]
}

/** An empty message could not be told from the end of the channel. */
function assertSendable(payload: Buffer, fds: readonly number[]): void {
  if (payload.length > 0 && payload.length <= MAX_PAYLOAD_BYTES && fds.length <= MAX_DESCRIPTORS) return
  const detail = `cannot send a message of ${payload.length} bytes with ${fds.length} descriptors`
  throw new MeshError('SYSTEM_CALL', { detail })
}

/**
 * Sends one message, never empty. The descriptors stay the caller's. False when the peer has not read enough yet:
 * nothing was sent. @throws SYSTEM_CALL when the peer is gone or a limit is exceeded
 */
export function sendDescriptors(fd: number, payload: Buffer, fds: readonly number[] = []): boolean {
  assertSendable(payload, fds)
  const controlBytes = fds.length === 0 ? 0 : CMSGHDR_BYTES + fds.length * 4
  control.bytes.fill(0)
  control.bytes.writeUInt32LE(controlBytes, 0)
  control.bytes.writeInt32LE(SOL_SOCKET, 8)
  control.bytes.writeInt32LE(SCM_RIGHTS, 12)
  fds.forEach((descriptor, index) => {
    control.bytes.writeInt32LE(descriptor, CMSGHDR_BYTES + index * 4)
  })
  prepare(addressOf(payload), payload.length, controlBytes)
  for (;;) {
    if (sendmsg(fd, header.address, MSG_NOSIGNAL | MSG_DONTWAIT) === payload.length) return true
    const code = errno()
    if (code === E.AGAIN) return false
    if (code !== E.INTR) throw systemError('sendmsg', code)
  }
}

/**
 * The next message; `again` when there is none yet, `eof` when the peer has closed.
 * @throws SYSTEM_CALL when it was larger than the limits: its descriptors are closed, the channel is of no more use
 */
export function receiveDescriptors(fd: number): DescriptorMessage | 'eof' | 'again' {
  prepare(payloadBlock.address, MAX_PAYLOAD_BYTES, CONTROL_BYTES)
  const count = recvmsg(fd, header.address, MSG_CMSG_CLOEXEC | MSG_DONTWAIT)
  if (count < 0) {
    const code = errno()
    if (code === E.AGAIN || code === E.INTR) return 'again'
    // The peer closed with messages of ours unread: an end like any other.
    if (code === E.CONNRESET) return 'eof'
    throw systemError('recvmsg', code)
  }
  const flags = header.bytes.readInt32LE(48)
  const fds = receivedDescriptors(Number(header.bytes.readBigUInt64LE(40)))
  const isTruncated = (flags & (MSG_TRUNC | MSG_CTRUNC)) !== 0
  if (isTruncated || (count === 0 && fds.length > 0)) {
    closeAll(fds)
    throw new MeshError('SYSTEM_CALL', {
      detail: isTruncated ? 'a message exceeds the limits' : 'a message is empty',
    })
  }
  if (count === 0) return 'eof'
  return { payload: Buffer.from(payloadBlock.bytes.subarray(0, count)), fds }
}

function receivedDescriptors(controlBytes: number): number[] {
  const fds: number[] = []
  const end = Math.min(controlBytes, CONTROL_BYTES)
  let at = 0
  while (end - at >= CMSGHDR_BYTES) {
    const length = Number(control.bytes.readBigUInt64LE(at))
    if (length < CMSGHDR_BYTES) break
    const isRights =
      control.bytes.readInt32LE(at + 8) === SOL_SOCKET && control.bytes.readInt32LE(at + 12) === SCM_RIGHTS
    const last = Math.min(at + length, end)
    for (let i = at + CMSGHDR_BYTES; isRights && i + 4 <= last; i += 4) fds.push(control.bytes.readInt32LE(i))
    at += (length + 7) & ~7
  }
  return fds
}

/** What a channel tells its owner. */
export interface ChannelHandler {
  /** The descriptors are the handler's: it closes them or hands them on. */
  onMessage(message: DescriptorMessage): void
  /** Once and last, when the peer closed (null) or the channel broke. Not called after close(). */
  onClosed(error: MeshError | null): void
}

/** The asynchronous face of one end, on an ordinary main thread. Owns its descriptor. open → closed. */
export class DescriptorChannel {
  readonly #handler: ChannelHandler
  readonly #queue: DescriptorMessage[] = []
  #fd: number

  /** Takes the descriptor over. The first callback comes in a later turn of the event loop. */
  constructor(fd: number, handler: ChannelHandler) {
    this.#fd = fd
    this.#handler = handler
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK)
    DescriptorPoll.shared().watch(fd, (events) => this.#onReady(events))
  }

  get isClosed(): boolean {
    return this.#fd < 0
  }

  /** Messages that wait for the peer to read. */
  get queuedCount(): number {
    return this.#queue.length
  }

  /**
   * Sends one message, or queues it in order while the peer does not keep up. The descriptors stay the caller's and
   * may be closed at once. False when the channel is closed or its queue is full: the message is lost. A peer that is
   * gone is told by onClosed. @throws SYSTEM_CALL when the message exceeds a limit
   */
  send(payload: Buffer, fds: readonly number[] = []): boolean {
    assertSendable(payload, fds)
    if (this.#fd < 0 || this.#queue.length >= MAX_QUEUED_MESSAGES) return false
    if (this.#queue.length === 0 && this.#trySend({ payload, fds }) !== 'again') return true
    this.#queue.push({ payload: Buffer.from(payload), fds: duplicate(fds) })
    if (this.#queue.length === 1) DescriptorPoll.shared().watchWritable(this.#fd, true)
    return true
  }

  /** Silent and idempotent. What was sent still arrives, what is queued does not. */
  close(): void {
    if (this.#fd < 0) return
    DescriptorPoll.shared().unwatch(this.#fd)
    close(this.#fd)
    this.#fd = -1
    for (const { fds } of this.#queue) closeAll(fds)
    this.#queue.length = 0
  }

  #onReady(events: number): void {
    if ((events & EPOLLOUT) !== 0) this.#flush()
    if ((events & ~EPOLLOUT) !== 0) this.#receive()
  }

  /** After a failure the reading side sees the end: onClosed comes from there, after what the peer still said. */
  #trySend(message: DescriptorMessage): 'sent' | 'again' | 'gone' {
    try {
      return sendDescriptors(this.#fd, message.payload, message.fds) ? 'sent' : 'again'
    } catch {
      shutdown(this.#fd, SHUT_RDWR)
      return 'gone'
    }
  }

  #flush(): void {
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      if (this.#trySend(first) === 'again') return
      closeAll(first.fds)
      this.#queue.shift()
    }
    DescriptorPoll.shared().watchWritable(this.#fd, false)
  }

  #receive(): void {
    for (let count = 0; count < MAX_PER_WAKE_UP && this.#fd >= 0; count++) {
      const message = this.#next()
      if (message === 'again') return
      if (message === 'eof' || message instanceof MeshError) {
        this.close()
        this.#handler.onClosed(message === 'eof' ? null : message)
        return
      }
      this.#handler.onMessage(message)
    }
  }

  #next(): ReturnType<typeof receiveDescriptors> | MeshError {
    try {
      return receiveDescriptors(this.#fd)
    } catch (error) {
      return error instanceof MeshError ? error : new MeshError('INTERNAL', { cause: error })
    }
  }
}

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) close(fd)
}

/** Copies for the queue: the caller may close its own. @throws OUT_OF_DESCRIPTORS */
function duplicate(fds: readonly number[]): number[] {
  const copies: number[] = []
  for (const fd of fds) {
    const copy = fcntl(fd, F_DUPFD_CLOEXEC, 0)
    if (copy < 0) {
      const error = systemError('fcntl F_DUPFD_CLOEXEC')
      closeAll(copies)
      throw error
    }
    copies.push(copy)
  }
  return copies
}
