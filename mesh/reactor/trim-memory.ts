// SPDX-License-Identifier: Apache-2.0
// Gives memory back after start-up: parsing and compiling leave garbage that an idle process would keep for hours.
// Needs node's --expose-gc; without it only malloc's free memory is returned.
import { bindFunction, openLibrary } from './ffi/native.ts'

const malloc_trim = bindFunction<(pad: number) => number>(
  openLibrary('libc.so.6'),
  'int malloc_trim(uint64_t)',
)

/** Collects this thread's garbage and returns free memory to the system. Takes some 20 ms: never while serving. */
export function trimMemory(): void {
  const collect = globalThis.gc
  if (typeof collect === 'function') {
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' })
  }
  malloc_trim(0)
}
