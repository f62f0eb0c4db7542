// SPDX-License-Identifier: Apache-2.0
// How long the kernel lets a reactor's thread wait for its turn. Linux (EEVDF, from 6.12 on) gives a thread that asks
// for short slices its processor sooner after a wake-up, for the same share of it: what a proxy needs, which works for
// microseconds many thousand times a second. With the default of 3 ms, a busy neighbour delayed a request by that much.
import { getPriority } from 'node:os'
import { schedSetattrNumber } from './ffi/constants.ts'
import { syscall3 } from './ffi/libc.ts'
import { allocateBlock } from './ffi/native.ts'

/** The shortest slice the kernel takes. */
const SLICE_NS = 100_000n
/** struct sched_attr, first version: size, policy, flags, nice, priority, runtime, deadline, period. */
const ATTRIBUTE_BYTES = 48
const NICE_OFFSET = 16
const RUNTIME_OFFSET = 24
const THIS_THREAD = 0

/** Asks for short slices for the calling thread. False when the kernel refuses or does not know them: no harm done. */
export function requestShortSlices(): boolean {
  const number = schedSetattrNumber()
  if (number === undefined) return false
  const { bytes, address } = allocateBlock(ATTRIBUTE_BYTES)
  bytes.fill(0) // policy 0 is SCHED_OTHER
  bytes.writeUInt32LE(ATTRIBUTE_BYTES, 0)
  bytes.writeInt32LE(getPriority(), NICE_OFFSET) // stays what it is
  bytes.writeBigUInt64LE(SLICE_NS, RUNTIME_OFFSET)
  return syscall3(number, THIS_THREAD, address, 0) === 0
}
