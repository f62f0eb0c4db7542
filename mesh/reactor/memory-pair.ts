// SPDX-License-Identifier: Apache-2.0
// Two byte streams joined in memory and a scheduler driven by hand: what tests run protocol code on.
// Honours the contract of byte-stream.ts strictly: callbacks only inside a turn, bytes copied on write, a
// delivered chunk is poisoned after the call so that code which keeps a view of it fails.
import {
  type Block,
  type ByteStream,
  type ByteStreamHandler,
  CLOSED_OK,
  type CloseReason,
  HEADROOM_BYTES,
} from './byte-stream.ts'
import type { Scheduler, Timer, TurnTask } from './scheduler.ts'

/** Overwrites delivered chunks: an odd value that is neither text nor a likely length. */
const POISON_BYTE = 0xdd
/** A turn that never quiets down is a defect of the code under test, not something to wait for. */
const MAX_TURNS = 100_000

/** Something that happens in a later turn, as an event of epoll would. */
export interface TurnEvent {
  fire(): void
}

interface ManualTimer extends Timer {
  dueMs: number
  readonly callback: () => void
}

/** Time and turns moved by the test alone: nothing happens until `runTurn`, `advance` or `runUntilIdle`. */
export class ManualScheduler implements Scheduler {
  #nowMs = 0
  #tasks = new Set<TurnTask>()
  #events = new Set<TurnEvent>()
  readonly #timers = new Set<ManualTimer>()

  get nowMs(): number {
    return this.#nowMs
  }

  /** True when a turn would do something without time passing. */
  get isBusy(): boolean {
    return this.#events.size > 0 || this.#tasks.size > 0
  }

  /** Timers that have neither fired nor been cancelled: a closed object must leave none. */
  get timerCount(): number {
    return this.#timers.size
  }

  atTurnEnd(task: TurnTask): void {
    this.#tasks.add(task)
  }

  startTimer(delayMs: number, callback: () => void): Timer {
    const timer: ManualTimer = {
      dueMs: this.#nowMs + Math.max(delayMs, 1),
      callback,
      cancel: () => void this.#timers.delete(timer),
    }
    this.#timers.add(timer)
    return timer
  }

  /** Queues an event for the next turn; posting it again before that is a no-op. */
  post(event: TurnEvent): void {
    this.#events.add(event)
  }

  /** One turn: the events queued so far, then the turn-end tasks, also those registered by tasks. */
  runTurn(): void {
    const events = this.#events
    this.#events = new Set()
    for (const event of events) event.fire()
    this.#runTasks()
  }

  /** Turns until nothing is left to do at this time. */
  runUntilIdle(): void {
    for (let turns = 0; this.isBusy; turns++) {
      if (turns > MAX_TURNS) throw new Error('the turns never end')
      this.runTurn()
    }
  }

  /** Moves the clock, firing due timers in order, each in a turn of its own followed by turns until idle. */
  advance(ms: number): void {
    const targetMs = this.#nowMs + ms
    this.runUntilIdle()
    for (let next = this.#nextTimer(targetMs); next !== null; next = this.#nextTimer(targetMs)) {
      this.#nowMs = Math.max(this.#nowMs, next.dueMs)
      this.#timers.delete(next)
      next.callback()
      this.runTurn()
      this.runUntilIdle()
    }
    this.#nowMs = targetMs
  }

  #nextTimer(limitMs: number): ManualTimer | null {
    let next: ManualTimer | null = null
    for (const timer of this.#timers) {
      if (timer.dueMs <= limitMs && (next === null || timer.dueMs < next.dueMs)) next = timer
    }
    return next
  }

  #runTasks(): void {
    for (let rounds = 0; this.#tasks.size > 0; rounds++) {
      if (rounds > MAX_TURNS) throw new Error('the turn never ends')
      const tasks = this.#tasks
      this.#tasks = new Set()
      for (const task of tasks) task.runAtTurnEnd()
    }
  }
}

/** How a memory pair behaves. */
export interface MemoryPairOptions {
  /** `write` returns false from this many undelivered bytes on. */
  readonly highWaterBytes?: number
  /** Largest chunk handed to onData: small values split frames at every possible place. */
  readonly chunkBytes?: number
  /** Free bytes in front of a delivered chunk. */
  readonly headroomBytes?: number
}

/** A block of plain JavaScript memory: address 0, so no native call may see it. */
export function memoryBlock(bytes: number): Block {
  return { bytes: Buffer.alloc(bytes), address: 0 }
}

/** Two connected streams; what one writes the other reads in a later turn of `scheduler`. */
export function createMemoryPair(
  scheduler: ManualScheduler,
  options: MemoryPairOptions = {},
): [MemoryStream, MemoryStream] {
  const near = new MemoryStream(scheduler, options)
  const far = new MemoryStream(scheduler, options)
  near.connect(far)
  far.connect(near)
  return [near, far]
}

/** One end of a memory pair. */
export class MemoryStream implements ByteStream, TurnEvent, TurnTask {
  isAtTurnEnd = false
  readonly #scheduler: ManualScheduler
  readonly #highWaterBytes: number
  readonly #chunkBytes: number
  readonly #headroomBytes: number
  #peer: MemoryStream | null = null
  #handler: ByteStreamHandler | null = null
  /** Bytes the peer wrote and our handler has not seen. */
  #inbound: Buffer[] = []
  #inboundBytes = 0
  #isPaused = false
  #isEndSent = false
  #isEndReceived = false
  #isEndDelivered = false
  #isDrainOwed = false
  #closeReason: CloseReason | null = null
  #isCloseDelivered = false

  constructor(scheduler: ManualScheduler, options: MemoryPairOptions) {
    this.#scheduler = scheduler
    this.#highWaterBytes = options.highWaterBytes ?? 65_536
    this.#chunkBytes = options.chunkBytes ?? 262_144
    this.#headroomBytes = options.headroomBytes ?? HEADROOM_BYTES
  }

  /** Joins this end with the other; called once, by createMemoryPair. */
  connect(peer: MemoryStream): void {
    this.#peer = peer
  }

  get bufferedBytes(): number {
    return this.#peer === null ? 0 : this.#peer.#inboundBytes
  }

  /** True once onClose was delivered. */
  get isClosed(): boolean {
    return this.#isCloseDelivered
  }

  setHandler(handler: ByteStreamHandler): void {
    this.#handler = handler
    this.#scheduler.post(this)
  }

  write(block: Block, start: number, end: number): boolean {
    const peer = this.#peer
    if (peer === null || this.#isEndSent || this.#closeReason !== null) return true
    if (end > start && peer.#closeReason === null) {
      peer.#inbound.push(Buffer.from(block.bytes.subarray(start, end)))
      peer.#inboundBytes += end - start
      this.#scheduler.post(peer)
    }
    // The contract lets a stream scribble in front of the bytes: do it, so that nobody relies on the contrary.
    if (start >= HEADROOM_BYTES) block.bytes.fill(POISON_BYTE, start - HEADROOM_BYTES, start)
    if (this.bufferedBytes < this.#highWaterBytes) return true
    this.#isDrainOwed = true
    return false
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#scheduler.post(this)
  }

  end(): void {
    if (this.#isEndSent || this.#closeReason !== null) return
    this.#isEndSent = true
    if (this.#peer === null) return
    this.#peer.#isEndReceived = true
    this.#scheduler.post(this.#peer)
    this.#scheduler.post(this)
  }

  destroy(reason: CloseReason): void {
    if (this.#closeReason !== null) return
    this.#closeReason = reason
    this.#dropInbound()
    this.#scheduler.atTurnEnd(this)
    if (this.#peer === null || this.#peer.#closeReason !== null) return
    this.#peer.#closeReason = { code: 'PEER_RESET', detail: 'the other end of the pair was destroyed' }
    this.#peer.#dropInbound()
    this.#scheduler.post(this.#peer)
  }

  runAtTurnEnd(): void {
    this.#deliverClose()
  }

  fire(): void {
    if (this.#handler === null) return
    this.#deliverData()
    const peer = this.#peer
    if (peer !== null && this.#inboundBytes < this.#highWaterBytes / 2) peer.#offerDrain()
    if (this.#isDrainOwed && this.bufferedBytes < this.#highWaterBytes / 2 && this.#closeReason === null) {
      this.#isDrainOwed = false
      this.#handler.onDrain()
    }
    if (this.#isEndReceived && !this.#isEndDelivered && this.#inboundBytes === 0) this.#deliverEnd()
    this.#deliverClose()
  }

  #deliverData(): void {
    while (this.#inbound.length > 0 && !this.#isPaused && this.#closeReason === null) {
      const bytes = this.#inbound[0]
      if (bytes === undefined) return
      const size = Math.min(bytes.length, this.#chunkBytes)
      if (size === bytes.length) this.#inbound.shift()
      else this.#inbound[0] = bytes.subarray(size)
      this.#inboundBytes -= size
      const block = memoryBlock(this.#headroomBytes + size)
      bytes.copy(block.bytes, this.#headroomBytes, 0, size)
      this.#handler?.onData(block, this.#headroomBytes, this.#headroomBytes + size)
      block.bytes.fill(POISON_BYTE)
    }
  }

  #deliverEnd(): void {
    if (this.#closeReason !== null || this.#isPaused) return
    this.#isEndDelivered = true
    this.#handler?.onEnd()
    if (this.#peer !== null) this.#scheduler.post(this.#peer)
  }

  #deliverClose(): void {
    const peer = this.#peer
    const isFinished = this.#isEndDelivered && this.#isEndSent && (peer === null || peer.#isEndDelivered)
    if (this.#closeReason === null && isFinished) this.#closeReason = CLOSED_OK
    if (this.#closeReason === null || this.#isCloseDelivered || this.#handler === null) return
    this.#isCloseDelivered = true
    this.#handler.onClose(this.#closeReason)
  }

  #offerDrain(): void {
    if (this.#isDrainOwed && this.#closeReason === null) this.#scheduler.post(this)
  }

  #dropInbound(): void {
    this.#inbound = []
    this.#inboundBytes = 0
  }
}
