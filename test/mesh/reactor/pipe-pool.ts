// SPDX-License-Identifier: Apache-2.0
import { readdirSync } from 'node:fs'
import t from 'tap'
import { DescriptorTable } from '../../../mesh/reactor/descriptor-table.ts'
import { F_GETPIPE_SZ, O_CLOEXEC, O_NONBLOCK } from '../../../mesh/reactor/ffi/constants.ts'
import { close, E, errno, fcntl, read, write } from '../../../mesh/reactor/ffi/libc.ts'
import { allocateBlock } from '../../../mesh/reactor/ffi/native.ts'
import { MAX_PIPES, PIPE_BYTES, type Pipe, PipePool } from '../../../mesh/reactor/pipe-pool.ts'
import { failSystemCall } from '../../support/errno-injection.ts'
import { createUnixDescriptors } from '../../support/reactor-pairs.ts'

const openCount = (): number => readdirSync('/proc/self/fd').length
const block = allocateBlock(65_536)
for (let i = 0; i < block.bytes.length; i++) block.bytes[i] = (i * 11) & 255

function taken(pool: PipePool): Pipe {
  const pipe = pool.take()
  if (pipe === null) throw new Error('no pipe')
  return pipe
}

t.test('bytes go through a pipe from one socket into another one, in order', async (t) => {
  const pool = new PipePool(new DescriptorTable())
  const [from, nearEnd] = createUnixDescriptors()
  const [farEnd, to] = createUnixDescriptors()
  const pipe = taken(pool)
  t.equal(fcntl(pipe.readFd, F_GETPIPE_SZ, 0), PIPE_BYTES)
  t.equal(pipe.capacityBytes, PIPE_BYTES)
  t.same([pipe.fill(nearEnd, 100), errno()], [-1, E.AGAIN], 'there is nothing, and nobody waits for it')
  write(from, block.address, 10_000)
  t.equal(pipe.fill(nearEnd, 6000), 6000, 'not more than it may')
  t.equal(pipe.byteLength, 6000)
  t.equal(pipe.drain(farEnd), 6000)
  t.equal(pipe.byteLength, 0)
  t.equal(pipe.fill(nearEnd, 6000), 4000)
  pipe.drain(farEnd)
  const into = allocateBlock(20_000)
  let arrived = 0
  while (arrived < 10_000) arrived += read(to, into.address + arrived, 20_000)
  t.equal(into.bytes.compare(block.bytes, 0, 10_000, 0, 10_000), 0)
  close(from)
  t.equal(pipe.fill(nearEnd, 100), 0, 'the end')
  pool.give(pipe)
  for (const fd of [nearEnd, farEnd, to]) close(fd)
  pool.trim()
})

t.test('what cannot be spliced has to be copied', async (t) => {
  const pool = new PipePool(new DescriptorTable())
  const epollIsNoStream = taken(pool)
  const other = taken(pool)
  t.equal(epollIsNoStream.fill(epollIsNoStream.readFd, 10), null, 'a pipe into itself: EINVAL')
  pool.give(epollIsNoStream)
  pool.give(other)
  pool.trim()
})

t.test('pipes are used again, bounded, and closed with what is in them', async (t) => {
  const table = new DescriptorTable()
  const pool = new PipePool(table)
  const before = openCount()
  const first = taken(pool)
  t.same(
    [fcntl(first.readFd, 3, 0) & O_NONBLOCK, fcntl(first.writeFd, 3, 0) & O_NONBLOCK],
    [O_NONBLOCK, O_NONBLOCK],
  )
  t.ok(fcntl(first.readFd, 1, 0) & 1, 'no child inherits it')
  pool.give(first)
  t.equal(pool.take(), first)
  t.same(
    table.list(),
    [first.readFd, first.writeFd].sort((a, b) => a - b),
  )
  const pipes = [first]
  while (pipes.length < MAX_PIPES) pipes.push(taken(pool))
  t.equal(pool.take(), null)
  t.equal(openCount() - before, 2 * MAX_PIPES)
  t.equal(pool.takenPipes, MAX_PIPES)
  write(first.writeFd, block.address, 100)
  first.byteLength = 100
  pool.give(first)
  t.equal(openCount() - before, 2 * MAX_PIPES - 2, 'one with bytes of a connection in it serves no other')
  for (const pipe of pipes.slice(1)) pool.give(pipe)
  t.equal(pool.takenPipes, 0)
  t.ok(openCount() - before <= 8, 'few are kept')
  pool.trim()
  t.equal(openCount(), before)
  t.same(table.list(), [])
})

t.test('without descriptors there is no pipe, and later there is', async (t) => {
  const pool = new PipePool(new DescriptorTable())
  const kept = taken(pool)
  failSystemCall('pipe2', 1, O_NONBLOCK | O_CLOEXEC, E.MFILE)
  t.equal(pool.take(), null)
  t.equal(pool.takenPipes, 1)
  pool.give(kept)
  t.equal(pool.take(), kept)
  pool.give(kept)
  pool.trim()
})
