// SPDX-License-Identifier: Apache-2.0
// Two connected sockets of this process: for a protocol that wants a descriptor (TLS) on bytes that come out of another
// stream. The kernel's buffer between them is the back-pressure.
import { AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM } from './ffi/constants.ts'
import { socketpair } from './ffi/libc.ts'
import { allocateBlock } from './ffi/native.ts'
import { systemError } from './socket-options.ts'

/** Two connected, non-blocking stream sockets; the caller owns both. @throws OUT_OF_DESCRIPTORS */
export function createStreamPair(): readonly [number, number] {
  const pair = allocateBlock(8)
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair.address) !== 0)
    throw systemError('socketpair')
  return [pair.bytes.readInt32LE(0), pair.bytes.readInt32LE(4)]
}
