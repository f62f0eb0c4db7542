// SPDX-License-Identifier: Apache-2.0
// A node:net socket as a ByteStream, and a scheduler on the event loop: for tests against foreign implementations.
// One turn = one event; every chunk is copied, so this is no data path.
import type { Socket } from 'node:net'
import {
  type Block,
  type ByteStream,
  type ByteStreamHandler,
  CLOSED_OK,
  type CloseReason,
  HEADROOM_BYTES,
} from '../../mesh/reactor/byte-stream.ts'
import type { Scheduler, Timer, TurnTask } from '../../mesh/reactor/scheduler.ts'

/** Turns end when `runTasks` is called: after every event of a NodeSocket and every timer. */
export class EventLoopScheduler implements Scheduler {
  #tasks = new Set<TurnTask>()
  #isPosted = false
  get nowMs(): number {
    return performance.now()
  }
  atTurnEnd(task: TurnTask): void {
    this.#tasks.add(task)
    // A test may call streams outside of any event.
    if (this.#isPosted) return
    this.#isPosted = true
    setImmediate(() => this.runTasks())
  }
  startTimer(delayMs: number, callback: () => void): Timer {
    const timer = setTimeout(() => {
      callback()
      this.runTasks()
    }, delayMs)
    timer.unref()
    return { cancel: () => clearTimeout(timer) }
  }
  runTasks(): void {
    this.#isPosted = false
    while (this.#tasks.size > 0) {
      const tasks = this.#tasks
      this.#tasks = new Set()
      for (const task of tasks) task.runAtTurnEnd()
    }
  }
}

export class NodeSocket implements ByteStream {
  readonly #socket: Socket
  #handler: ByteStreamHandler | null = null
  #reason: CloseReason = CLOSED_OK

  constructor(socket: Socket, scheduler: EventLoopScheduler) {
    this.#socket = socket
    socket.on('data', (bytes: Buffer) => {
      const block = { bytes: Buffer.alloc(HEADROOM_BYTES + bytes.length), address: 0 }
      bytes.copy(block.bytes, HEADROOM_BYTES)
      this.#handler?.onData(block, HEADROOM_BYTES, block.bytes.length)
      scheduler.runTasks()
    })
    socket.on('end', () => {
      this.#handler?.onEnd()
      scheduler.runTasks()
    })
    socket.on('drain', () => {
      this.#handler?.onDrain()
      scheduler.runTasks()
    })
    socket.on('error', (error: Error) => {
      this.#reason = { code: 'PEER_RESET', detail: error.message }
    })
    socket.on('close', () => {
      this.#handler?.onClose(this.#reason)
      scheduler.runTasks()
    })
  }
  get bufferedBytes(): number {
    return this.#socket.writableLength
  }
  setHandler(handler: ByteStreamHandler): void {
    this.#handler = handler
  }
  write(block: Block, start: number, end: number): boolean {
    if (this.#socket.writableEnded || this.#socket.destroyed) return true
    return this.#socket.write(Buffer.from(block.bytes.subarray(start, end)))
  }
  pause(): void {
    this.#socket.pause()
  }
  resume(): void {
    this.#socket.resume()
  }
  end(): void {
    this.#socket.end()
  }
  destroy(reason: CloseReason): void {
    this.#reason = reason
    this.#socket.destroy()
  }
}
