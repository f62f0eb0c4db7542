// SPDX-License-Identifier: Apache-2.0
import { fstatSync } from 'node:fs'
import t from 'tap'
import { DescriptorTable, MAX_DESCRIPTORS } from '../../../mesh/reactor/descriptor-table.ts'
import { openHandles, readHandleCounts } from '../../../mesh/reactor/ffi/handle-counts.ts'
import { close, open, write } from '../../../mesh/reactor/ffi/libc.ts'
import { allocateBlock } from '../../../mesh/reactor/ffi/native.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import { TcpSocket } from '../../../mesh/reactor/tcp-socket.ts'
import { RecordingHandler } from '../../support/byte-stream-contract.ts'
import { connectDescriptors, runUntil } from '../../support/reactor-pairs.ts'

t.test('descriptors are listed in order until they are removed, seen from either side', async (t) => {
  const table = new DescriptorTable()
  const other = new DescriptorTable(table.memory)
  for (const fd of [31, 0, 32, 63, 64, 1000, MAX_DESCRIPTORS - 1, 31]) table.add(fd)
  t.same(other.list(), [0, 31, 32, 63, 64, 1000, MAX_DESCRIPTORS - 1])
  table.remove(31)
  table.remove(31)
  t.equal(other.has(31), false)
  t.equal(other.has(63), true)
  t.same(other.list(), [0, 32, 63, 64, 1000, MAX_DESCRIPTORS - 1])
})

t.test('a descriptor is counted once, however often it is claimed or given up', async (t) => {
  const table = new DescriptorTable()
  const before = openHandles().descriptor
  table.add(5)
  table.add(5)
  t.equal(openHandles().descriptor, before + 1)
  table.remove(5)
  table.remove(5)
  t.equal(openHandles().descriptor, before)
})

t.test("closing what a dead worker owned resets its connections and counts nothing as main's", async (t) => {
  const reactor = new Reactor()
  const [ours, theirs] = connectDescriptors(reactor)
  const peer = new RecordingHandler()
  new TcpSocket(reactor, ours, peer)
  const table = new DescriptorTable()
  const file = open('/dev/null', 0)
  table.add(theirs)
  table.add(file)
  const counts = readHandleCounts()
  t.equal(table.closeAll(), 2)
  t.same(table.list(), [])
  t.equal(table.closeAll(), 0)
  t.same(readHandleCounts(), counts)
  t.throws(() => fstatSync(file), { code: 'EBADF' })
  runUntil(reactor, () => peer.reason !== null)
  t.match(peer.reason, { code: 'PEER_RESET', detail: 'Connection reset by peer' })
  const one = allocateBlock(1)
  t.equal(write(theirs, one.address, 1), -1, 'it is closed')
  close(file)
})
