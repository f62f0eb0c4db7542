// SPDX-License-Identifier: Apache-2.0
// How native functions and memory are reached: koffi behind two small functions. Pointers are plain numbers
// (user space addresses fit in 47 bits), so that offsets into a block cost an addition and no allocation.
import koffi from 'koffi'
import { MeshError } from '../../errors/mesh-error.ts'
import type { Block } from '../byte-stream.ts'

/** A pointer as a number; 0 is NULL. */
export type Pointer = number

export type NativeLibrary = ReturnType<typeof koffi.load>

/** Opens a shared library by soname; `null` is the running program itself. @throws NATIVE_UNSUPPORTED */
export function openLibrary(name: string | null): NativeLibrary {
  try {
    return koffi.load(name)
  } catch (cause) {
    throw new MeshError('NATIVE_UNSUPPORTED', {
      detail: `cannot load ${name ?? 'the program itself'}`,
      cause,
    })
  }
}

/** Binds one C function. The caller states the TypeScript type that matches `prototype`. */
export function bindFunction<F>(library: NativeLibrary, prototype: string): F {
  try {
    return library.func(prototype) as F // as: koffi types every function as (...any) => any
  } catch (cause) {
    throw new MeshError('NATIVE_UNSUPPORTED', { detail: `no native function: ${prototype}`, cause })
  }
}

/**
 * Binds one C function so that it runs on libuv's thread pool, for calls that wait. It occupies a thread of the pool
 * meanwhile, keeps the event loop alive, and process exit waits for it: whoever calls it must be able to wake it.
 * errno is the other thread's and cannot be read.
 */
export function bindAsyncFunction<A extends readonly unknown[]>(
  library: NativeLibrary,
  prototype: string,
): (done: (result: number) => void, ...values: A) => void {
  const f = library.func(prototype)
  return (done, ...values) => {
    f.async(...values, (error: Error | null, result: unknown) => done(error === null ? Number(result) : -1))
  }
}

/** True when the library exports the symbol. */
export function hasSymbol(library: NativeLibrary, name: string): boolean {
  try {
    library.func(`void ${name}()`)
    return true
  } catch {
    return false
  }
}

/**
 * Registers a JavaScript function as a C callback for the life of the thread. It must not throw: an exception
 * would unwind through C.
 */
export function registerCallback<F extends (...values: never[]) => number>(prototype: string, f: F): Pointer {
  const type = koffi.pointer(koffi.proto(prototype))
  return Number(koffi.address(koffi.register(f, type)))
}

/** Off-heap memory of a fixed address, usable by native calls as long as the block is referenced. */
export function allocateBlock(byteLength: number): Block {
  const bytes = Buffer.allocUnsafeSlow(Math.max(byteLength, 64)).subarray(0, byteLength)
  return { bytes, address: Number(koffi.address(bytes)) }
}

/**
 * Frees the memory of a block of `allocateBlock` at once: the collector, which frees it otherwise, does not come for what
 * is not on its heap. Its bytes are none afterwards, and nothing native may know its address any more.
 */
export function freeBlock(block: Block): void {
  const { buffer } = block.bytes
  if (buffer instanceof ArrayBuffer) buffer.transfer(0)
}

/** Native address of the first byte of `bytes`. The caller keeps `bytes` referenced while it is used. */
export function addressOf(bytes: Uint8Array): Pointer {
  return Number(koffi.address(bytes))
}

const memcpy = bindFunction<(to: Pointer, from: Pointer, byteLength: number) => Pointer>(
  openLibrary('libc.so.6'),
  'uintptr_t memcpy(uintptr_t, uintptr_t, uint64_t)',
)

/** Copies `byteLength` bytes of native memory. */
export function copyFrom(pointer: Pointer, byteLength: number): Buffer {
  if (pointer === 0 || byteLength <= 0) return Buffer.alloc(0)
  const copy = allocateBlock(byteLength)
  memcpy(copy.address, pointer, byteLength)
  return copy.bytes
}

/** Copies `bytes` to native memory that has room for them. */
export function copyTo(pointer: Pointer, bytes: Uint8Array): void {
  memcpy(pointer, addressOf(bytes), bytes.length)
}

/** A live view on native memory that is never freed (errno's cell). */
export function viewOf(pointer: Pointer, byteLength: number): ArrayBuffer {
  return koffi.view(BigInt(pointer), byteLength)
}

/** Memory that a view of plainBytes() is of: there as long as the view. */
const viewed = new WeakMap<ArrayBuffer, SharedArrayBuffer>()

/**
 * The bytes of `memory` from `offset` on as if they were this thread's alone: to and from shared memory V8 copies byte by byte,
 * which takes ten times as long. Who may touch which of them is for the caller to say, by Atomics.
 */
export function plainBytes(memory: SharedArrayBuffer, offset: number): Buffer {
  const view = viewOf(addressOf(new Uint8Array(memory, offset)), memory.byteLength - offset)
  viewed.set(view, memory)
  return Buffer.from(view)
}
