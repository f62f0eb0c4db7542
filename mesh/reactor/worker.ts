// SPDX-License-Identifier: Apache-2.0
// A worker thread that is one reactor, and the main thread's handle on it. Messages are bounded both ways with drop
// counters; an eventfd wakes the loop; a dead or stuck worker's descriptors are closed by main.
import { parentPort, receiveMessageOnPort, Worker, workerData } from 'node:worker_threads'
import { MeshError } from '../errors/mesh-error.ts'
import { DescriptorTable } from './descriptor-table.ts'
import { EFD_CLOEXEC, EFD_NONBLOCK, EPOLLIN } from './ffi/constants.ts'
import {
  createHandleMemory,
  type HandleCounts,
  type HandleKind,
  openHandles,
  readHandleCounts,
  shareHandleCounts,
} from './ffi/handle-counts.ts'
import { eventfd, read, write } from './ffi/libc.ts'
import { allocateBlock } from './ffi/native.ts'
import { HEARTBEAT_INTERVAL_MS, Heartbeat } from './heartbeat.ts'
import { Reactor } from './reactor.ts'
import { requestShortSlices } from './scheduling-slice.ts'

/** Messages under way in one direction; more means that the receiver is stuck, and they are dropped. */
export const MAX_MESSAGES_UNDER_WAY = 16_384
/** How long stop() waits before it terminates the thread. */
const STOP_DEADLINE_MS = 2000
/** Messages are taken for so long, then connections have their turn: a change of all pods is hundreds of messages. */
const RECEIVE_BUDGET_MS = 1

/** Slots of the shared control words. */
const SENT_DOWN = 0
const HANDLED_DOWN = 1
const SENT_UP = 2
const HANDLED_UP = 3
const DROPPED_UP = 4
const TURNS = 5
const CONTROL_WORDS = 8

/** What every worker is started with, beside the caller's own data. */
interface WorkerEnvelope {
  readonly control: SharedArrayBuffer
  readonly descriptors: SharedArrayBuffer
  readonly handles: SharedArrayBuffer
  readonly wakeFd: number
  readonly data: unknown
}

const wakeValue = allocateBlock(8)
wakeValue.bytes.writeBigUInt64LE(1n)

/** An eventfd for one worker. */
export function createWakeFd(): number {
  return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
}

/** Wakes whoever watches the eventfd. Callable from any thread. */
export function wake(fd: number): void {
  write(fd, wakeValue.address, 8)
}

/** How a worker ended. */
export interface WorkerExit {
  /** null when it was stopped. */
  readonly error: Error | null
  /** Sockets it left behind, closed by now. */
  readonly closedDescriptors: number
}

/** Options of a worker. */
export interface ReactorWorkerOptions<Up> {
  readonly name: string
  /** Structured-clonable; the worker reads it as ReactorThread.data. */
  readonly data: unknown
  /** The eventfd that wakes the worker; owned by the caller, who may keep it over restarts. */
  readonly wakeFd: number
  readonly onMessage: (message: Up) => void
  readonly onExit: (exit: WorkerExit) => void
}

/** The main thread's side of one reactor worker. */
export class ReactorWorker<Down, Up> {
  readonly name: string
  /** Messages not sent because the worker did not keep up. */
  droppedCount = 0
  readonly wakeFd: number
  readonly #worker: Worker
  readonly #control: Int32Array
  readonly #descriptors = new DescriptorTable()
  readonly #handles = createHandleMemory()
  readonly #heartbeat: NodeJS.Timeout
  readonly #beats = new Heartbeat()
  #error: Error | null = null
  #isStopping = false
  readonly #exited: Promise<void>

  constructor(entry: URL, options: ReactorWorkerOptions<Up>) {
    this.name = options.name
    const control = new SharedArrayBuffer(CONTROL_WORDS * 4)
    this.#control = new Int32Array(control)
    this.wakeFd = options.wakeFd
    const envelope: WorkerEnvelope = {
      control,
      descriptors: this.#descriptors.memory,
      handles: this.#handles,
      wakeFd: this.wakeFd,
      data: options.data,
    }
    this.#worker = new Worker(entry, { name: options.name, workerData: envelope })
    this.#worker.on('message', (message: Up) => {
      Atomics.add(this.#control, HANDLED_UP, 1)
      options.onMessage(message)
    })
    this.#worker.on('error', (error: Error) => {
      this.#error = error
    })
    this.#exited = new Promise((resolve) => {
      this.#worker.on('exit', () => {
        clearInterval(this.#heartbeat)
        const closedDescriptors = this.#descriptors.closeAll()
        const error = this.#isStopping ? null : (this.#error ?? new MeshError('WORKER_LOST'))
        options.onExit({ error, closedDescriptors })
        resolve()
      })
    })
    this.#heartbeat = setInterval(() => this.#checkHeartbeat(), HEARTBEAT_INTERVAL_MS)
    this.#heartbeat.unref()
  }

  /** Sends a message; false when the worker is too far behind and it was dropped. */
  post(message: Down): boolean {
    const behind = Atomics.load(this.#control, SENT_DOWN) - Atomics.load(this.#control, HANDLED_DOWN)
    if (behind >= MAX_MESSAGES_UNDER_WAY) {
      this.droppedCount++
      return false
    }
    Atomics.add(this.#control, SENT_DOWN, 1)
    this.#worker.postMessage(message)
    wake(this.wakeFd)
    return true
  }

  /** Messages the worker could not send because main did not keep up. */
  get droppedByWorkerCount(): number {
    return Atomics.load(this.#control, DROPPED_UP)
  }

  /** Descriptors the worker owns now. */
  get descriptorCount(): number {
    return this.#descriptors.list().length
  }

  /** Native handles the worker has created and freed. After its end, a difference of an SSL kind is lost memory. */
  get handles(): HandleCounts {
    return readHandleCounts(this.#handles)
  }

  /** Native handles open now. */
  get openHandles(): Readonly<Record<HandleKind, number>> {
    return openHandles(this.#handles)
  }

  /** Ends the worker: its loop is asked by the caller's own message first; here the thread is ended for good. */
  async stop(): Promise<void> {
    this.#isStopping = true
    const deadline = setTimeout(() => void this.#worker.terminate(), STOP_DEADLINE_MS)
    wake(this.wakeFd)
    await this.#exited
    clearTimeout(deadline)
  }

  /** Ends the thread at once, whatever it does. */
  async terminate(): Promise<void> {
    this.#isStopping = true
    wake(this.wakeFd)
    await this.#worker.terminate()
    await this.#exited
  }

  #checkHeartbeat(): void {
    const waitedMs = this.#beats.look(Atomics.load(this.#control, TURNS))
    if (waitedMs === null || this.#isStopping) return
    this.#error = new MeshError('WORKER_LOST', { detail: `${this.name} finished no turn in ${waitedMs} ms` })
    void this.#worker.terminate()
  }
}

/** A worker's own side: its reactor and its way to main. */
export class ReactorThread<Down, Up> {
  readonly reactor: Reactor
  /** What main passed as `data`. */
  readonly data: unknown
  readonly #control: Int32Array
  readonly #wakeFd: number
  #onMessage: (message: Down) => void = () => {}
  #onWake: () => void = () => {}
  #isReceiving = false

  constructor() {
    const envelope = workerData as WorkerEnvelope // as: only ReactorWorker starts these threads
    this.#control = new Int32Array(envelope.control)
    this.#wakeFd = envelope.wakeFd
    this.data = envelope.data
    shareHandleCounts(envelope.handles)
    this.reactor = new Reactor(new DescriptorTable(envelope.descriptors))
  }

  /** Sends a message to main; false when main is too far behind and it was dropped (and counted). */
  post(message: Up): boolean {
    const behind = Atomics.load(this.#control, SENT_UP) - Atomics.load(this.#control, HANDLED_UP)
    if (behind >= MAX_MESSAGES_UNDER_WAY) {
      Atomics.add(this.#control, DROPPED_UP, 1)
      return false
    }
    Atomics.add(this.#control, SENT_UP, 1)
    parentPort?.postMessage(message)
    return true
  }

  /**
   * Runs the reactor until `reactor.stop()` and never returns to libuv before. `onMessage` gets every message of
   * main, `onWake` is called whenever the eventfd fired, whoever fired it.
   */
  run(onMessage: (message: Down) => void, onWake: () => void = () => {}): void {
    this.#onMessage = onMessage
    this.#onWake = onWake
    this.reactor.watch(this.#wakeFd, EPOLLIN, { onReady: () => this.#receive() }, true)
    this.reactor.onTurn = () => {
      this.#control[TURNS] = this.reactor.turnCount | 0
    }
    requestShortSlices()
    this.#receive() // what was posted before the loop ran
    this.reactor.run()
    this.reactor.unwatch(this.#wakeFd)
  }

  #receive(): void {
    read(this.#wakeFd, wakeValue.address, 8)
    wakeValue.bytes.writeBigUInt64LE(1n)
    if (!this.#isReceiving) this.#takeMessages()
  }

  /**
   * Takes messages in their order, over several turns if they are much work. Whoever else woke us comes after them: what
   * another thread hands over is about things that main has told before.
   */
  #takeMessages(): void {
    this.#isReceiving = false
    if (parentPort === null) return
    const endMs = performance.now() + RECEIVE_BUDGET_MS
    do {
      const received: { message: Down } | undefined = receiveMessageOnPort(parentPort)
      if (received === undefined) {
        this.#onWake()
        return
      }
      Atomics.add(this.#control, HANDLED_DOWN, 1)
      this.#onMessage(received.message)
    } while (performance.now() < endMs)
    this.#isReceiving = true
    this.reactor.inNextTurn(() => this.#takeMessages())
  }
}
