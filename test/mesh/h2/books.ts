// SPDX-License-Identifier: Apache-2.0
// The small parts a session is made of: queue, shared resources, settings, streams, pings, floods, header rules.
import t from 'tap'
import { ByteQueue } from '../../../mesh/h2/byte-queue.ts'
import { FloodGuard } from '../../../mesh/h2/flood-guard.ts'
import { SETTING } from '../../../mesh/h2/frames.ts'
import { isFieldName, isFieldValue, requestFault, responseFault } from '../../../mesh/h2/header-rules.ts'
import { PING_MARK, PingTracker } from '../../../mesh/h2/ping-tracker.ts'
import { SessionResources } from '../../../mesh/h2/session-resources.ts'
import { localSettings, PeerSettings, settingsToSend } from '../../../mesh/h2/settings.ts'
import { H2Stream, type StreamOwner } from '../../../mesh/h2/stream.ts'
import { StreamTable } from '../../../mesh/h2/stream-table.ts'
import { HeldBytes } from '../../../mesh/reactor/held-bytes.ts'
import { ManualScheduler, memoryBlock } from '../../../mesh/reactor/memory-pair.ts'

function resources(
  allocated: number[] = [],
  released: number[] = [],
  held = new HeldBytes(),
): SessionResources {
  return new SessionResources({
    scheduler: new ManualScheduler(),
    allocateBlock: (bytes) => {
      allocated.push(bytes)
      return memoryBlock(bytes)
    },
    releaseBlock: (block) => void released.push(block.bytes.length),
    held,
  })
}

t.test('a byte queue keeps order over blocks of all sizes and gives them back', async (t) => {
  const shared = resources()
  const queue = new ByteQueue(shared, true)
  const parts = [10, 5_000, 3, 300_000, 40_000].map((bytes, i) => Buffer.alloc(bytes, 65 + i))
  for (const part of parts) queue.push(part, 0, part.length)
  t.equal(queue.bytes, 345_013)
  t.ok(shared.inboundUsedBytes >= queue.bytes)
  const out: Buffer[] = []
  while (queue.head !== null) {
    const { block, start, end } = queue.head
    t.ok(start >= 16, 'headroom in front of every segment')
    const bytes = Math.min(7_000, end - start)
    out.push(Buffer.from(block.bytes.subarray(start, start + bytes)))
    queue.consume(bytes)
  }
  t.ok(Buffer.concat(out).equals(Buffer.concat(parts)))
  t.equal(queue.bytes, 0)
  t.equal(shared.inboundUsedBytes, 0)
  queue.push(Buffer.from('again'), 0, 5)
  queue.clear()
  t.equal(shared.inboundUsedBytes + queue.bytes, 0)
})

t.test('blocks are reused, and the surplus is released', async (t) => {
  const allocated: number[] = []
  const released: number[] = []
  const shared = resources(allocated, released)
  const first = shared.takeBlock(100)
  shared.giveBlock(first)
  t.equal(shared.takeBlock(4_096), first)
  t.not(shared.takeBlock(4_097), first)
  const many = Array.from({ length: 100 }, () => shared.takeBlock(1))
  for (const block of many) shared.giveBlock(block)
  t.equal(released.length, 0, 'as many as may be kept')
  const more = Array.from({ length: 150 }, () => shared.takeBlock(1))
  for (const block of more) shared.giveBlock(block)
  t.equal(released.length, 22)
  shared.ebb()
  const one = shared.takeBlock(1)
  shared.giveBlock(one)
  shared.ebb()
  t.ok(released.length > 140, 'those that nobody needed')
  shared.trim()
  t.equal(released.length, allocated.length - 3, 'but for those in use, and the staging block')
})

t.test('what is held is counted by block, all resources of a worker together', async (t) => {
  const held = new HeldBytes()
  const [one, two] = [resources([], [], held), resources([], [], held)]
  const blocks = [one.takeBlock(1), one.takeBlock(100_000), two.takeBlock(10_000)]
  t.equal(held.bytes, 4_112 + 262_160 + 32_784)
  const queue = new ByteQueue(two, false)
  queue.push(Buffer.alloc(10), 0, 10)
  t.equal(held.bytes, 4_112 * 2 + 262_160 + 32_784)
  queue.clear()
  for (const [index, block] of blocks.entries()) (index < 2 ? one : two).giveBlock(block)
  t.equal(held.bytes, 0)
})

t.test('the staging block changes hands by flushing', async (t) => {
  const shared = resources()
  const flushed: string[] = []
  const holder = (name: string) => ({
    flushStaging() {
      const bytes = shared.takeStaged(this)
      if (bytes > 0) flushed.push(`${name} ${shared.staging.bytes.toString('latin1', 0, bytes)}`)
    },
  })
  const [a, b] = [holder('a'), holder('b')]
  const put = (who: typeof a, text: string) => {
    const at = shared.reserve(who, text.length)
    shared.commit(at + shared.staging.bytes.write(text, at))
  }
  put(a, 'one')
  put(a, 'two')
  put(b, 'three')
  put(a, 'x')
  t.same(flushed, ['a onetwo', 'b three'])
  shared.reserve(a, 65_536)
  t.same(flushed, ['a onetwo', 'b three', 'a x'], 'a full block is flushed')
  shared.commit(0)
  put(b, 'end')
  shared.runAtTurnEnd()
  t.equal(flushed.at(-1), 'b end')
  t.equal(shared.takeStaged(b), 0)
})

t.test('settings are announced as HBONE wants them', async (t) => {
  t.same(settingsToSend('client', localSettings('client')), [2, 0, 4, 4_194_304, 5, 1_048_576, 6, 16_384])
  t.same(settingsToSend('server', localSettings('server')), [3, 200, 4, 4_194_304, 5, 1_048_576, 6, 65_536])
})

t.test('settings of a peer are checked one by one', async (t) => {
  const apply = (role: 'client' | 'server', ...pairs: number[]) => {
    const bytes = Buffer.alloc(pairs.length * 3)
    pairs.forEach((value, i) => {
      if (i % 2 === 0) bytes.writeUInt16BE(value, i * 3)
      else bytes.writeUInt32BE(value, i * 3 - 1)
    })
    const settings = new PeerSettings()
    return [settings.apply(role, bytes, 0, bytes.length), settings] as const
  }
  const [refusal, settings] = apply('server', 1, 0, 3, 7, 4, 100, 5, 20_000, 6, 9, 0xaaaa, 5)
  t.equal(refusal, null)
  t.match(settings, {
    headerTableBytes: 0,
    maxConcurrentStreams: 7,
    initialWindowBytes: 100,
    maxFrameBytes: 20_000,
  })
  t.match(apply('server', SETTING.ENABLE_PUSH, 1)[0], { code: 'H2_PROTOCOL' })
  t.equal(apply('client', SETTING.ENABLE_PUSH, 1)[0], null)
  t.match(apply('client', SETTING.INITIAL_WINDOW_SIZE, 0x8000_0000)[0], { code: 'H2_FLOW_CONTROL' })
})

t.test('a stream table knows idle, open and reset streams', async (t) => {
  const table = new StreamTable('server', 5)
  // as: the table never calls its streams
  const stream = new H2Stream({} as StreamOwner, 3, 1, 1)
  t.ok(table.isIdle(3))
  table.lastPeerId = 3
  table.add(stream)
  t.notOk(table.isIdle(1))
  t.ok(table.isIdle(2))
  t.equal(table.get(3), stream)
  t.equal(table.get(1), null)
  table.remove(stream, 99)
  t.equal(table.get(3), null)
  t.equal(table.idleSinceMs, 99)
  for (let id = 1; id < 301; id += 2) table.noteReset(id)
  t.notOk(table.wasReset(1), 'old resets are forgotten')
  t.ok(table.wasReset(299))
  const client = new StreamTable('client', 0)
  t.same([client.takeLocalId(), client.takeLocalId()], [1, 3])
  t.ok(client.isIdle(5))
  t.notOk(client.isIdle(3))
})

t.test('a ping is answered once', async (t) => {
  const pings = new PingTracker()
  const times: number[] = []
  const id = pings.start(10, (ms) => times.push(ms))
  t.equal(pings.acknowledge(0, id, 15), false)
  t.equal(pings.acknowledge(PING_MARK, id, 15), true)
  t.equal(pings.acknowledge(PING_MARK, id, 16), false)
  t.same(times, [5])
})

t.test('flood buckets refill with time, and window updates with what we send', async (t) => {
  const guard = new FloodGuard(0)
  const drain = (take: () => boolean) => {
    let taken = 0
    while (taken < 100_000 && take()) taken++
    return taken
  }
  t.equal(
    drain(() => guard.takeReset(0)),
    1_000,
  )
  t.equal(
    drain(() => guard.takeControl(0)),
    400,
  )
  t.equal(
    drain(() => guard.takeWindowUpdate(0)),
    10_000,
  )
  guard.noteDataSent(102_400)
  t.equal(
    drain(() => guard.takeWindowUpdate(0)),
    101,
  )
  t.ok(drain(() => guard.takeReset(1_000)) >= 199)
})

t.test('header rules', async (t) => {
  t.equal(requestFault([':method', 'CONNECT', ':authority', 'a:1']), '')
  t.equal(requestFault([':authority', 'a:1', ':method', 'CONNECT']), '', 'any order')
  t.equal(responseFault([':status', '200', 'x', 'y']), '')
  t.not(responseFault([':status', '099']), '')
  t.ok(isFieldName('x-a_b.1'))
  for (const name of ['', 'A', 'a b', 'ä', 'a:', '\u0130']) t.notOk(isFieldName(name), JSON.stringify(name))
  for (const value of ['', 'a b', 'ä', 'a\tb']) t.ok(isFieldValue(value), JSON.stringify(value))
  for (const value of ['\0', 'a\n', ' a', 'a\t', '\r', ' ', 'a\x01b', '\x7f'])
    t.notOk(isFieldValue(value), JSON.stringify(value))
})
