// SPDX-License-Identifier: Apache-2.0
// The event loop of a worker: epoll, timers, turn-end tasks, deferred closing. It never returns to libuv while it
// runs, so nothing above it may rely on promises, microtasks or Node's timers.
//
//   turn = epoll_wait → events → tasks posted to the next turn → due timers → turn-end tasks → closing
import { performance } from 'node:perf_hooks'
import { MeshError } from '../errors/mesh-error.ts'
import { BufferPool, POOL_BLOCK_BYTES } from './buffer-pool.ts'
import { type Block, HEADROOM_BYTES } from './byte-stream.ts'
import { DescriptorTable } from './descriptor-table.ts'
import { EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, epollLayout } from './ffi/constants.ts'
import { close, describeErrno, E, epoll_create1, epoll_ctl, epoll_wait, errno } from './ffi/libc.ts'
import { allocateBlock } from './ffi/native.ts'
import { HeldBytes, mostReadBytes, READ_BLOCK_BYTES } from './held-bytes.ts'
import { PipePool } from './pipe-pool.ts'
import type { Scheduler, Timer, TurnTask } from './scheduler.ts'
import { assertReactorSupported } from './self-test.ts'
import { TimerWheel } from './timers.ts'

/** Receives the readiness of one descriptor. */
export interface ReadinessHandler {
  /** `events` is the EPOLL* mask. The descriptor may have been closed earlier in the turn: not called then. */
  onReady(events: number): void
}

/** Events taken per epoll_wait: bounds a turn, so that no descriptor waits for hundreds of others twice. */
const MAX_EVENTS = 256
/** A turn-end task may register another; more rounds than this mean a defect. */
const MAX_TASK_ROUNDS = 1000

/** One epoll loop. All its objects belong to the thread that created it. */
export class Reactor implements Scheduler {
  nowMs = performance.now()
  readonly pool = new BufferPool()
  /** What the streams of this loop hold, beside the blocks of the pool. */
  readonly held = new HeldBytes()
  readonly descriptors: DescriptorTable
  readonly pipes: PipePool
  /** Scratch memory for reads: its content is valid until the next read of any stream. */
  readonly readBlock: Block = allocateBlock(READ_BLOCK_BYTES + HEADROOM_BYTES)
  /** Longest turn so far in ms, without the wait; read and reset by metrics. */
  longestTurnMs = 0
  /** Measure what turns take of the CPU: two system calls for each turn, together a microsecond. */
  measuresCpu = false
  /**
   * Most CPU time that this thread took in one turn so far, in ms, turns with a collection left out; read and reset by
   * metrics. What a turn lasted beyond it the thread has waited: for a core, for a page.
   */
  longestTurnCpuMs = 0
  /** Longest collection of an idle loop so far in ms; not counted as a turn, because there was nobody to wait for. */
  longestTrimMs = 0
  #trimMs = 0
  turnCount = 0
  /** Time spent in turns, without the waits. */
  busyMs = 0
  /** Called once a turn, before its events: the heartbeat. */
  onTurn: (() => void) | null = null

  readonly #epoll: number
  readonly #layout = epollLayout()
  readonly #events: Block
  /** The same memory as whole words: every field of an event is one, and reading one makes no garbage. */
  readonly #eventWords: Int32Array
  readonly #change: Block
  readonly #handlers: Array<ReadinessHandler | undefined> = []
  // A descriptor number closed and reopened within a batch must not get the old one's event: epoll's data word
  // carries the generation, compared before dispatch.
  readonly #generations: number[] = []
  readonly #wheel: TimerWheel
  #tasks: TurnTask[] = []
  #runningTasks: TurnTask[] = []
  #nextTurn: Array<() => void> = []
  readonly #closing: number[] = []
  readonly #atDestroy: Array<() => void> = []
  readonly #atTrim: Array<() => void> = []
  readonly #atEbb: Array<() => void> = []
  #turnEndMs = this.nowMs
  #isStopping = false

  /** @throws NATIVE_UNSUPPORTED when the machine differs from what the native calls assume. */
  constructor(descriptors = new DescriptorTable()) {
    assertReactorSupported()
    this.descriptors = descriptors
    this.pipes = new PipePool(descriptors)
    this.#events = allocateBlock(this.#layout.eventBytes * MAX_EVENTS)
    const { buffer, byteOffset, length } = this.#events.bytes
    this.#eventWords = new Int32Array(buffer, byteOffset, length / 4)
    this.#change = allocateBlock(this.#layout.eventBytes)
    this.#wheel = new TimerWheel(this.nowMs)
    this.#epoll = epoll_create1(EPOLL_CLOEXEC)
    if (this.#epoll < 0) throw this.#systemError('epoll_create1')
    this.descriptors.add(this.#epoll)
  }

  /** Watches `fd` for `events`. The reactor owns the descriptor from here on, unless `isShared`. */
  watch(fd: number, events: number, handler: ReadinessHandler, isShared = false): void {
    const generation = ((this.#generations[fd] ?? 0) + 1) | 0
    this.#generations[fd] = generation
    this.#control(EPOLL_CTL_ADD, fd, events, generation)
    this.#handlers[fd] = handler
    if (!isShared) this.descriptors.add(fd)
  }

  /** Changes what is watched. */
  rewatch(fd: number, events: number): void {
    this.#control(EPOLL_CTL_MOD, fd, events, this.#generations[fd] ?? 0)
  }

  /** Hands a watched descriptor to another handler: a connect that became a socket. */
  takeOver(fd: number, events: number, handler: ReadinessHandler): void {
    this.#handlers[fd] = handler
    this.rewatch(fd, events)
  }

  /** Stops watching without closing: for descriptors owned elsewhere. */
  unwatch(fd: number): void {
    if (this.#handlers[fd] === undefined) return
    this.#handlers[fd] = undefined
    this.#generations[fd] = ((this.#generations[fd] ?? 0) + 1) | 0
    epoll_ctl(this.#epoll, EPOLL_CTL_DEL, fd, 0)
  }

  /** Closes a descriptor of ours at the end of the turn: its number cannot come back within the batch. */
  closeLater(fd: number): void {
    this.#handlers[fd] = undefined
    this.#generations[fd] = ((this.#generations[fd] ?? 0) + 1) | 0
    this.#closing.push(fd)
  }

  /** Everything that is watched now. */
  get watchers(): readonly ReadinessHandler[] {
    return this.#handlers.filter((handler) => handler !== undefined)
  }

  atTurnEnd(task: TurnTask): void {
    if (task.isAtTurnEnd) return
    task.isAtTurnEnd = true
    this.#tasks.push(task)
  }

  /** Runs `callback` in the next turn, which then does not wait: for work split over turns. */
  inNextTurn(callback: () => void): void {
    this.#nextTurn.push(callback)
  }

  startTimer(delayMs: number, callback: () => void): Timer {
    return this.#wheel.start(this.nowMs, delayMs, callback)
  }

  /** Timers not yet fired; for leak tests. */
  get pendingTimerCount(): number {
    return this.#wheel.pendingCount
  }

  /** Runs until stop(). Returns with the descriptors still open; destroy() closes the loop's own. */
  run(): void {
    this.#isStopping = false
    while (!this.#isStopping) this.runTurn(this.#wheel.sleepMs(this.#turnEndMs))
  }

  /** One turn that waits at most `waitMs`; returns whether anything happened. */
  runTurn(waitMs: number): boolean {
    const isBusy = this.#nextTurn.length > 0 || this.#tasks.length > 0 || this.#closing.length > 0
    const count = epoll_wait(this.#epoll, this.#events.address, MAX_EVENTS, isBusy ? 0 : waitMs)
    if (count < 0 && errno() !== E.INTR) throw this.#systemError('epoll_wait')
    this.nowMs = performance.now()
    const startedMs = this.nowMs
    const startedCpu = this.measuresCpu ? process.threadCpuUsage() : null
    this.turnCount++
    this.onTurn?.()
    this.#dispatch(count)
    if (this.#nextTurn.length > 0) this.#runNextTurn()
    this.#wheel.fireDue(this.nowMs)
    this.#runTasks()
    if (this.#closing.length > 0) this.#closeAll()
    this.#turnEndMs = performance.now()
    const turnMs = this.#turnEndMs - startedMs
    this.busyMs += turnMs
    if (turnMs - this.#trimMs > this.longestTurnMs) this.longestTurnMs = turnMs - this.#trimMs
    if (startedCpu !== null && this.#trimMs === 0) {
      const { user, system } = process.threadCpuUsage(startedCpu)
      this.longestTurnCpuMs = Math.max(this.longestTurnCpuMs, (user + system) / 1000)
    }
    this.#trimMs = 0
    return isBusy || count > 0
  }

  /** Ends run() after the current turn. From another thread: wake the loop by a message. */
  stop(): void {
    this.#isStopping = true
  }

  /** Runs `release` whenever the loop lets go of memory that it may need again. */
  atTrim(release: () => void): void {
    this.#atTrim.push(release)
  }

  /** Runs `release` every few seconds: what was not needed since is let go of. */
  atEbb(release: () => void): void {
    this.#atEbb.push(release)
  }

  /** This much of the current turn was the collection of an idle loop. */
  onTrimmed(ms: number): void {
    this.#trimMs += ms
    if (ms > this.longestTrimMs) this.longestTrimMs = ms
  }

  /** Lets go of unused buffers: for a loop that has become idle. */
  trim(): void {
    this.pool.trim()
    this.pipes.trim()
    for (const release of this.#atTrim) release()
  }

  /** Lets go of buffers that were not needed since the last call: for a loop that may go on working. */
  ebb(): void {
    this.pool.ebb()
    for (const release of this.#atEbb) release()
  }

  /** How much a socket may read at a time. */
  get mostReadBytes(): number {
    return mostReadBytes(this.held.bytes + this.pool.takenBlocks * POOL_BLOCK_BYTES)
  }

  /** Runs `free` when the loop is destroyed: native memory that its sockets share. */
  atDestroy(free: () => void): void {
    this.#atDestroy.push(free)
  }

  /** Closes the loop itself. Sockets must have been closed before. Idempotent. */
  destroy(): void {
    this.#closeAll()
    this.pipes.trim()
    for (const free of this.#atDestroy) free()
    this.#atDestroy.length = 0
    if (!this.descriptors.has(this.#epoll)) return
    this.descriptors.remove(this.#epoll)
    close(this.#epoll)
  }

  #dispatch(count: number): void {
    const words = this.#eventWords
    const eventWords = this.#layout.eventBytes / 4
    const dataWord = this.#layout.dataOffset / 4
    for (let i = 0, at = 0; i < count; i++, at += eventWords) {
      const fd = words[at + dataWord] ?? -1
      const handler = this.#handlers[fd]
      if (handler === undefined || words[at + dataWord + 1] !== this.#generations[fd]) continue
      handler.onReady(words[at] ?? 0)
    }
  }

  #runNextTurn(): void {
    const callbacks = this.#nextTurn
    this.#nextTurn = []
    for (const callback of callbacks) callback()
  }

  #runTasks(): void {
    for (let round = 0; this.#tasks.length > 0; round++) {
      if (round > MAX_TASK_ROUNDS) throw new MeshError('INTERNAL', { detail: 'turn-end tasks never end' })
      const tasks = this.#tasks
      this.#tasks = this.#runningTasks
      this.#runningTasks = tasks
      for (let index = 0; index < tasks.length; index++) {
        const task = tasks[index]
        if (task === undefined) continue
        task.isAtTurnEnd = false
        task.runAtTurnEnd()
      }
      tasks.length = 0
    }
  }

  #closeAll(): void {
    for (const fd of this.#closing) {
      this.descriptors.remove(fd)
      close(fd)
    }
    this.#closing.length = 0
  }

  #control(operation: number, fd: number, events: number, generation: number): void {
    const { bytes, address } = this.#change
    const { dataOffset } = this.#layout
    bytes.writeUInt32LE(events >>> 0, 0)
    bytes.writeInt32LE(fd, dataOffset)
    bytes.writeInt32LE(generation, dataOffset + 4)
    if (epoll_ctl(this.#epoll, operation, fd, address) !== 0) throw this.#systemError('epoll_ctl')
  }

  #systemError(call: string): MeshError {
    const code = errno()
    return new MeshError('SYSTEM_CALL', { detail: `${call}: ${describeErrno(code)} (errno ${code})` })
  }
}
