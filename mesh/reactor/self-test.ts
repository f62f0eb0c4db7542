// SPDX-License-Identifier: Apache-2.0
// Checked once at the start of every thread that runs a reactor: struct layout, errno, epoll's data word. A machine
// that fails is refused with a clear error instead of corrupting memory later.
import { MeshError } from '../errors/mesh-error.ts'
import { EFD_NONBLOCK, EPOLL_CTL_ADD, EPOLLIN, epollLayout } from './ffi/constants.ts'
import { close, E, epoll_create1, epoll_ctl, epoll_wait, errno, eventfd, read, write } from './ffi/libc.ts'
import { allocateBlock } from './ffi/native.ts'

const PROBE_LOW = 0x5eed1234
const PROBE_HIGH = 0x0badcafe

function fail(detail: string): never {
  throw new MeshError('NATIVE_UNSUPPORTED', { detail })
}

/** @throws NATIVE_UNSUPPORTED naming what differs. */
export function assertReactorSupported(): void {
  const { eventBytes, dataOffset } = epollLayout()
  const block = allocateBlock(eventBytes * 2)
  if (read(-1, block.address, 1) !== -1 || errno() !== E.BADF) fail('errno cannot be read after a call')
  const epoll = epoll_create1(0)
  const event = eventfd(0, EFD_NONBLOCK)
  if (epoll < 0 || event < 0) fail(`no epoll or eventfd: errno ${errno()}`)
  try {
    block.bytes.writeUInt32LE(EPOLLIN, 0)
    block.bytes.writeUInt32LE(PROBE_LOW, dataOffset)
    block.bytes.writeUInt32LE(PROBE_HIGH, dataOffset + 4)
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, event, block.address) !== 0) fail(`epoll_ctl: errno ${errno()}`)
    block.bytes.fill(0)
    block.bytes.writeUInt32LE(1, 0)
    if (write(event, block.address, 8) !== 8) fail(`eventfd: errno ${errno()}`)
    block.bytes.fill(0)
    const count = epoll_wait(epoll, block.address, 1, 1000)
    const isRight =
      count === 1 &&
      block.bytes.readUInt32LE(0) === EPOLLIN &&
      block.bytes.readUInt32LE(dataOffset) === PROBE_LOW &&
      block.bytes.readUInt32LE(dataOffset + 4) === PROBE_HIGH
    if (!isRight) fail('struct epoll_event has another layout than the table says')
  } finally {
    close(event)
    close(epoll)
  }
}
