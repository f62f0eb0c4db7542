// SPDX-License-Identifier: Apache-2.0
// Gives memory back after start-up: parsing and compiling leave garbage that an idle process would keep for hours, and
// pages of Node's program (parser, compiler, bootstrap) that it may never touch again.
// Needs node's --expose-gc; without it only malloc's free memory and pages of files are returned.
import { readOwnProcess } from '../runtime/own-process.ts'
import { bindFunction, openLibrary } from './ffi/native.ts'

const MADV_DONTNEED = 4
const libc = openLibrary('libc.so.6')
const malloc_trim = bindFunction<(pad: number) => number>(libc, 'int malloc_trim(uint64_t)')
const mallopt = bindFunction<(parameter: number, value: number) => number>(libc, 'int mallopt(int, int)')
const madvise = bindFunction<(address: bigint, length: number, advice: number) => number>(
  libc,
  'int madvise(uint64_t, uint64_t, int)',
)

const M_TRIM_THRESHOLD = -1
const M_MMAP_THRESHOLD = -3
const M_ARENA_MAX = -8
/** Blocks from this size on are mapped: a freed one goes back at once, whatever lies around it. */
const MAPPED_BLOCK_BYTES = 131_072
/** Free memory at the end of the heap beyond this goes back at once. */
const KEPT_FREE_BYTES = 1_048_576

/**
 * Makes malloc return what large buffers leave. Left alone it raises both bounds to 32 MB and more with the first large
 * buffer that is freed, and keeps what a burst needed. Blocks that are used again and again must be smaller or be kept.
 */
export function returnLargeBlocks(): void {
  mallopt(M_MMAP_THRESHOLD, MAPPED_BLOCK_BYTES)
  mallopt(M_TRIM_THRESHOLD, KEPT_FREE_BYTES)
}

/**
 * Makes threads share malloc's arenas, from now on: it opens one for each thread that would have to wait, eight per
 * processor at most, and what a thread of the compiler leaves in its own is of no use to others. Before threads start.
 */
export function limitArenas(count: number): void {
  mallopt(M_ARENA_MAX, count)
}

/** Collects this thread's garbage and returns free memory to the system. Takes some 20 ms: never while serving. */
export function trimMemory(): void {
  const collect = globalThis.gc
  if (typeof collect === 'function') {
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' })
  }
  trimArenas()
}

/** Returns malloc's free memory to the system; collects nothing. */
export function trimArenas(): void {
  malloc_trim(0)
}

/**
 * Lets go of this process's mappings of Node's code and constants. What is needed comes back from the page cache when it
 * is touched, in blocks and without reading a disk; what only start-up needed does not.
 */
export function releaseFilePages(): void {
  for (const { start, bytes } of releasableMappings(readOwnProcess('smaps') ?? ''))
    madvise(start, bytes, MADV_DONTNEED)
}

/** Mappings of files that cannot be written and of which no page was: nothing of them can be lost. */
function releasableMappings(smaps: string): { readonly start: bigint; readonly bytes: number }[] {
  const found: { start: bigint; bytes: number }[] = []
  for (const mapping of smaps.split(/^(?=[0-9a-f]+-)/m)) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p .* \/.*$/m.exec(mapping)
    // Pages that the dynamic linker has relocated are in memory only.
    if (match === null || !/^Anonymous: +0 kB$/m.test(mapping)) continue
    const start = BigInt(`0x${match[1]}`)
    found.push({ start, bytes: Number(BigInt(`0x${match[2]}`) - start) })
  }
  return found
}
