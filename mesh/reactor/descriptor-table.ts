// SPDX-License-Identifier: Apache-2.0
// Which descriptors a worker owns, in shared memory: when the worker dies its sockets do not die with it, so the
// main thread reads the table and closes them (peers see a reset). One writer, the worker; read after its end.
import { SO_LINGER, SOL_SOCKET } from './ffi/constants.ts'
import { countCreated, countFreed, DESCRIPTOR } from './ffi/handle-counts.ts'
import { close, setsockopt } from './ffi/libc.ts'
import { allocateBlock } from './ffi/native.ts'

/** Highest descriptor tracked; above RLIMIT_NOFILE of any sensible unit. 128 KiB per worker. */
export const MAX_DESCRIPTORS = 1_048_576

/** A bit per descriptor. */
export class DescriptorTable {
  readonly memory: SharedArrayBuffer
  readonly #words: Uint32Array

  constructor(memory = new SharedArrayBuffer(MAX_DESCRIPTORS / 8)) {
    this.memory = memory
    this.#words = new Uint32Array(memory)
  }

  /** Idempotent, so that every layer may claim what it holds. */
  add(fd: number): void {
    const word = fd >>> 5
    const bits = this.#words[word] ?? 0
    const bit = 1 << (fd & 31)
    if ((bits & bit) !== 0) return
    this.#words[word] = bits | bit
    countCreated(DESCRIPTOR)
  }

  remove(fd: number): void {
    const word = fd >>> 5
    const bits = this.#words[word] ?? 0
    const bit = 1 << (fd & 31)
    if ((bits & bit) === 0) return
    this.#words[word] = bits & ~bit
    countFreed(DESCRIPTOR)
  }

  has(fd: number): boolean {
    return ((this.#words[fd >>> 5] ?? 0) & (1 << (fd & 31))) !== 0
  }

  /** All owned descriptors, ascending. */
  list(): number[] {
    const found: number[] = []
    for (let word = 0; word < this.#words.length; word++) {
      const bits = this.#words[word] ?? 0
      if (bits === 0) continue
      for (let bit = 0; bit < 32; bit++) if (bits & (1 << bit)) found.push(word * 32 + bit)
    }
    return found
  }

  /** Closes everything the dead worker owned, with a reset; returns how many. Only after the worker's exit. */
  closeAll(): number {
    const linger = allocateBlock(8)
    linger.bytes.writeInt32LE(1, 0)
    linger.bytes.writeInt32LE(0, 4)
    const owned = this.list()
    for (const fd of owned) {
      setsockopt(fd, SOL_SOCKET, SO_LINGER, linger.address, 8) // fails on what is no socket: fine
      close(fd)
    }
    this.#words.fill(0) // not remove(): that would count in main what the worker has created
    return owned.length
  }
}
