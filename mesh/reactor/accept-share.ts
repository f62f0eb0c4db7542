// SPDX-License-Identifier: Apache-2.0
// Shares accepted connections among workers. The kernel wakes the most recently idle worker, which would gather all
// long-lived connections; so whoever accepts while it holds more than the least loaded one hands the descriptor
// over through a ring in shared memory and an eventfd. Descriptors belong to the process, so nothing is copied.
import { close } from './ffi/libc.ts'
import { setResetOnClose } from './socket-options.ts'
import { wake } from './worker.ts'

/** Kinds of connections counted apart: a tunnel carries many streams. */
export type AcceptKind = 'tunnel' | 'stream'
const KIND_INDEX: Readonly<Record<AcceptKind, number>> = { tunnel: 0, stream: 1 }
/** A worker may hold this many more than the least loaded one before it hands over. */
const SLACK: Readonly<Record<AcceptKind, number>> = { tunnel: 0, stream: 4 }
/** Hand-overs waiting for one worker from one other. */
const RING_SLOTS = 256
const RING_WORDS = 2 + RING_SLOTS * 2

/** Shared memory of a set of workers. */
export interface AcceptShareMemory {
  readonly workers: number
  readonly counts: SharedArrayBuffer
  readonly rings: SharedArrayBuffer
}

/** Made by main, handed to every worker as data. */
export function createAcceptShareMemory(workers: number): AcceptShareMemory {
  return {
    workers,
    counts: new SharedArrayBuffer(workers * 3 * 4),
    rings: new SharedArrayBuffer(workers * workers * RING_WORDS * 4),
  }
}

/** Hears of connections that other workers accepted. `listener` is the number they were accepted on. */
export type Adopt = (fd: number, listener: number) => void

/** One worker's view. */
export class AcceptShare {
  readonly #memory: AcceptShareMemory
  readonly #self: number
  readonly #wakeFds: readonly number[]
  /** Per worker: open tunnels, open streams, 1 = accepting. */
  readonly #counts: Int32Array

  constructor(memory: AcceptShareMemory, self: number, wakeFds: readonly number[]) {
    this.#memory = memory
    this.#self = self
    this.#wakeFds = wakeFds
    this.#counts = new Int32Array(memory.counts)
    Atomics.store(this.#counts, self * 3 + 2, 1)
  }

  /** Keeps a just accepted connection (true) or hands it to the least loaded worker (false). */
  keep(kind: AcceptKind, fd: number, listener: number): boolean {
    const index = KIND_INDEX[kind]
    const own = Atomics.load(this.#counts, this.#self * 3 + index)
    let least = this.#self
    let leastCount = own - SLACK[kind]
    for (let worker = 0; worker < this.#memory.workers; worker++) {
      if (worker === this.#self || Atomics.load(this.#counts, worker * 3 + 2) === 0) continue
      const count = Atomics.load(this.#counts, worker * 3 + index)
      if (count >= leastCount) continue
      least = worker
      leastCount = count
    }
    if (least !== this.#self && this.#push(least, fd, listener)) {
      Atomics.add(this.#counts, least * 3 + index, 1)
      wake(this.#wakeFds[least] ?? -1)
      return false
    }
    this.retain(kind)
    return true
  }

  /** Keeps a just accepted connection whoever has fewer. */
  retain(kind: AcceptKind): void {
    Atomics.add(this.#counts, this.#self * 3 + KIND_INDEX[kind], 1)
  }

  /** A kept or adopted connection has ended. */
  released(kind: AcceptKind): void {
    Atomics.sub(this.#counts, this.#self * 3 + KIND_INDEX[kind], 1)
  }

  /** Takes what others handed over; called on every wake. They are counted as ours already. */
  adoptAll(adopt: Adopt): void {
    for (let from = 0; from < this.#memory.workers; from++) {
      if (from === this.#self) continue
      drainRing(this.#ring(from, this.#self), adopt)
    }
  }

  #ring(from: number, to: number): Int32Array {
    return ringOf(this.#memory, from, to)
  }

  #push(to: number, fd: number, listener: number): boolean {
    const ring = this.#ring(this.#self, to)
    const head = Atomics.load(ring, 0)
    if (head - Atomics.load(ring, 1) >= RING_SLOTS) return false
    const slot = 2 + (head % RING_SLOTS) * 2
    ring[slot] = fd
    ring[slot + 1] = listener
    Atomics.store(ring, 0, head + 1)
    return true
  }
}

function ringOf(memory: AcceptShareMemory, from: number, to: number): Int32Array {
  return new Int32Array(memory.rings, (from * memory.workers + to) * RING_WORDS * 4, RING_WORDS)
}

function drainRing(ring: Int32Array, adopt: Adopt): void {
  for (let tail = Atomics.load(ring, 1); tail < Atomics.load(ring, 0); tail++) {
    const slot = 2 + (tail % RING_SLOTS) * 2
    const fd = ring[slot] ?? -1
    const listener = ring[slot + 1] ?? -1
    Atomics.store(ring, 1, tail + 1)
    adopt(fd, listener)
  }
}

function reset(fd: number): void {
  setResetOnClose(fd)
  close(fd)
}

/** After a worker's death, on main: nobody hands it anything, and what waited for it is reset. */
export function retireFromAcceptShare(memory: AcceptShareMemory, worker: number): void {
  const counts = new Int32Array(memory.counts)
  for (let i = 0; i < 3; i++) Atomics.store(counts, worker * 3 + i, 0)
  for (let from = 0; from < memory.workers; from++) {
    if (from !== worker) drainRing(ringOf(memory, from, worker), reset)
  }
}
