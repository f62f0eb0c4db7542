// SPDX-License-Identifier: Apache-2.0
// Readiness of descriptors that Node has no handle for, on ordinary main threads (a reactor worker has its own epoll).
// One epoll_wait for all of them waits on one thread of libuv's pool; an eventfd wakes it. It exists only while
// something is watched, keeps the event loop alive so long, and never delays the exit of the process.
import {
  EFD_CLOEXEC,
  EFD_NONBLOCK,
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLIN,
  EPOLLOUT,
  epollLayout,
} from './ffi/constants.ts'
import { close, epoll_create1, epoll_ctl, epoll_wait_async, eventfd, read, write } from './ffi/libc.ts'
import { allocateBlock } from './ffi/native.ts'
import { systemError } from './socket-options.ts'

/** Events per wait: these are control channels, a handful at most. */
const MAX_EVENTS = 32
/** Only a safety net, should the wake-up at exit be lost: exit then takes this long at most. */
const LONGEST_WAIT_MS = 5000
const WAKE_ID = 0

interface Watch {
  readonly id: number
  readonly onReady: (events: number) => void
}

/** The thread's poll. Callbacks run on the event loop, level-triggered: again until everything is read. */
export class DescriptorPoll {
  static #shared: DescriptorPoll | null = null

  readonly #layout = epollLayout()
  readonly #events = allocateBlock(this.#layout.eventBytes * MAX_EVENTS)
  readonly #change = allocateBlock(16)
  /** The number 1 to write, then room for what is read. */
  readonly #one = allocateBlock(16)
  readonly #byDescriptor = new Map<number, Watch>()
  // Events carry the id, not the descriptor: a number that was closed and reopened is another watch.
  readonly #byId = new Map<number, Watch>()
  readonly #wakeAtExit = (): void => this.#wake()
  #nextId = WAKE_ID + 1
  #epoll = -1
  #wakeUp = -1

  private constructor() {
    this.#one.bytes.fill(0)
    this.#one.bytes[0] = 1
  }

  /** One per thread. */
  static shared(): DescriptorPoll {
    DescriptorPoll.#shared ??= new DescriptorPoll()
    return DescriptorPoll.#shared
  }

  /** Calls `onReady` with the EPOLL* mask whenever `fd` (non-blocking, the caller's) has something to read. */
  watch(fd: number, onReady: (events: number) => void): void {
    if (this.#epoll < 0) this.#open()
    const watch = { id: this.#nextId++, onReady }
    this.#control(EPOLL_CTL_ADD, fd, EPOLLIN, watch.id)
    this.#byDescriptor.set(fd, watch)
    this.#byId.set(watch.id, watch)
  }

  /** Whether room to write is a reason to call back too. */
  watchWritable(fd: number, isWanted: boolean): void {
    const watch = this.#byDescriptor.get(fd)
    if (watch === undefined) return
    this.#control(EPOLL_CTL_MOD, fd, isWanted ? EPOLLIN | EPOLLOUT : EPOLLIN, watch.id)
  }

  /** Stops at once; call it before closing the descriptor. Idempotent. */
  unwatch(fd: number): void {
    const watch = this.#byDescriptor.get(fd)
    if (watch === undefined) return
    epoll_ctl(this.#epoll, EPOLL_CTL_DEL, fd, 0)
    this.#byDescriptor.delete(fd)
    this.#byId.delete(watch.id)
    if (this.#byId.size === 0) this.#wake()
  }

  #open(): void {
    this.#epoll = epoll_create1(EPOLL_CLOEXEC)
    if (this.#epoll < 0) throw systemError('epoll_create1')
    this.#wakeUp = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    if (this.#wakeUp < 0) {
      const error = systemError('eventfd')
      close(this.#epoll)
      this.#epoll = -1
      throw error
    }
    this.#control(EPOLL_CTL_ADD, this.#wakeUp, EPOLLIN, WAKE_ID)
    // Node joins its pool when it exits: a thread that still waits would hold it up.
    process.on('exit', this.#wakeAtExit)
    this.#wait()
  }

  #close(): void {
    process.off('exit', this.#wakeAtExit)
    close(this.#wakeUp)
    close(this.#epoll)
    this.#wakeUp = -1
    this.#epoll = -1
  }

  #control(operation: number, fd: number, events: number, id: number): void {
    this.#change.bytes.fill(0)
    this.#change.bytes.writeUInt32LE(events, 0)
    this.#change.bytes.writeUInt32LE(id, this.#layout.dataOffset)
    if (epoll_ctl(this.#epoll, operation, fd, this.#change.address) !== 0) throw systemError('epoll_ctl')
  }

  #wake(): void {
    if (this.#wakeUp >= 0) write(this.#wakeUp, this.#one.address, 8)
  }

  #wait(): void {
    const done = (count: number): void => this.#dispatch(count)
    epoll_wait_async(done, this.#epoll, this.#events.address, MAX_EVENTS, LONGEST_WAIT_MS)
  }

  /** A negative count is an interrupted wait. */
  #dispatch(count: number): void {
    const { eventBytes, dataOffset } = this.#layout
    const ready: [id: number, events: number][] = []
    for (let at = 0; at < count * eventBytes; at += eventBytes) {
      const bytes = this.#events.bytes
      ready.push([bytes.readUInt32LE(at + dataOffset), bytes.readUInt32LE(at)])
    }
    try {
      for (const [id, events] of ready) {
        if (id === WAKE_ID) read(this.#wakeUp, this.#one.address + 8, 8)
        else this.#byId.get(id)?.onReady(events)
      }
    } finally {
      // Also when a callback throws: the other descriptors are still watched.
      if (this.#byId.size > 0) this.#wait()
      else this.#close()
    }
  }
}
