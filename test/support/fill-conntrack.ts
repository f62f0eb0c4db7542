// SPDX-License-Identifier: Apache-2.0
// Flows in the connection table of a network namespace: datagrams to ever other loopback addresses, which nobody reads.
import { AF_INET, SOCK_CLOEXEC, SOL_SOCKET } from '../../mesh/reactor/ffi/constants.ts'
import { bind, close, sendto, setsockopt, socket } from '../../mesh/reactor/ffi/libc.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { systemError } from '../../mesh/reactor/socket-options.ts'

const SOCK_DGRAM = 2
const SO_RCVBUF = 8
const MSG_DONTWAIT = 0x40
const PORT = 9_999
const PER_TURN = 4_096
/** 127.1.0.0 and all after it. */
const FIRST_ADDRESS = 0x7f_01_00_00

function openSocket(namespace: NetworkNamespace): number {
  const fd = namespace.run(() => socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0))
  if (fd < 0) throw systemError('socket')
  return fd
}

/** Makes `count` of them, where something in the namespace tracks connections at all. They live for half a minute. */
export async function fillConntrack(namespace: NetworkNamespace, count: number): Promise<void> {
  const [sink, source] = [openSocket(namespace), openSocket(namespace)]
  const scratch = allocateBlock(32)
  try {
    scratch.bytes.fill(0)
    scratch.bytes.writeUInt32LE(1, 16)
    setsockopt(sink, SOL_SOCKET, SO_RCVBUF, scratch.address + 16, 4)
    // SPEC ip(7) struct sockaddr_in
    scratch.bytes.writeUInt16LE(AF_INET, 0)
    scratch.bytes.writeUInt16BE(PORT, 2)
    if (bind(sink, scratch.address, 16) !== 0) throw systemError('bind')
    for (let index = 0; index < count; index++) {
      scratch.bytes.writeUInt32BE(FIRST_ADDRESS + index, 4)
      sendto(source, scratch.address + 20, 1, MSG_DONTWAIT, scratch.address, 16)
      if (index % PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve))
    }
  } finally {
    close(sink)
    close(source)
  }
}
