// SPDX-License-Identifier: Apache-2.0
import { closeSync, fstatSync, openSync, readdirSync } from 'node:fs'
import t from 'tap'
import type { MeshError } from '../../../mesh/errors/mesh-error.ts'
import {
  createChannelPair,
  DescriptorChannel,
  type DescriptorMessage,
  MAX_DESCRIPTORS,
  MAX_PAYLOAD_BYTES,
  receiveDescriptors,
  sendDescriptors,
} from '../../../mesh/reactor/descriptor-passing.ts'
import { sendmsg } from '../../../mesh/reactor/ffi/libc.ts'
import { addressOf } from '../../../mesh/reactor/ffi/native.ts'

const openCount = (): number => readdirSync('/proc/self/fd').length
const closeAll = (fds: readonly number[]): void => {
  for (const fd of fds) closeSync(fd)
}
function received(fd: number): DescriptorMessage {
  const message = receiveDescriptors(fd)
  if (typeof message === 'string') throw new Error(message)
  return message
}

/** Collects what a channel tells; next() waits for the next event. */
class Recorder {
  readonly events: (DescriptorMessage | { readonly closed: MeshError | null })[] = []
  #wake: () => void = () => undefined
  onMessage(message: DescriptorMessage): void {
    this.events.push(message)
    this.#wake()
  }
  onClosed(closed: MeshError | null): void {
    this.events.push({ closed })
    this.#wake()
  }
  async until(count: number): Promise<void> {
    while (this.events.length < count) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
}

t.test('a message arrives whole, with descriptors of the same files', async (t) => {
  const before = openCount()
  const [a, b] = createChannelPair()
  t.equal(receiveDescriptors(b), 'again')
  const file = openSync('/dev/null', 'r')
  t.equal(sendDescriptors(a, Buffer.from('one'), [file, a]), true)
  sendDescriptors(a, Buffer.from('two'))
  const first = received(b)
  t.equal(first.payload.toString(), 'one')
  t.same(
    first.fds.map((fd) => fstatSync(fd).ino),
    [file, a].map((fd) => fstatSync(fd).ino),
  )
  t.same(received(b), { payload: Buffer.from('two'), fds: [] })
  closeAll([file, a, ...first.fds])
  t.equal(receiveDescriptors(b), 'eof')
  closeSync(b)
  t.equal(openCount(), before)
})

t.test('the limits hold: the largest message passes, a larger one does not leave', async (t) => {
  const before = openCount()
  const [a, b] = createChannelPair()
  const most = Array.from({ length: MAX_DESCRIPTORS }, () => a)
  sendDescriptors(a, Buffer.alloc(MAX_PAYLOAD_BYTES, 7), most)
  const message = received(b)
  t.equal(message.payload.length, MAX_PAYLOAD_BYTES)
  t.equal(message.fds.length, MAX_DESCRIPTORS)
  closeAll(message.fds)
  for (const [payload, fds] of [
    [Buffer.alloc(0), []],
    [Buffer.alloc(MAX_PAYLOAD_BYTES + 1), []],
    [Buffer.alloc(1), [...most, a]],
  ] as const) {
    t.throws(() => sendDescriptors(a, payload, fds), { code: 'SYSTEM_CALL' })
  }
  t.throws(() => sendDescriptors(a, Buffer.from('x'), [9999]), { code: 'SYSTEM_CALL' })
  closeAll([a, b])
  t.equal(openCount(), before)
})

/** sendmsg without our limits, as a hostile peer has it. */
function sendRaw(fd: number, payload: Buffer, fds: readonly number[]): number {
  const control = Buffer.alloc(16 + fds.length * 4)
  control.writeUInt32LE(control.length, 0)
  control.writeInt32LE(1, 8)
  control.writeInt32LE(1, 12)
  fds.forEach((descriptor, i) => {
    control.writeInt32LE(descriptor, 16 + i * 4)
  })
  const header = Buffer.alloc(72)
  header.writeBigUInt64LE(BigInt(addressOf(header) + 56), 16)
  header.writeUInt32LE(1, 24)
  if (fds.length > 0) {
    header.writeBigUInt64LE(BigInt(addressOf(control)), 32)
    header.writeUInt32LE(control.length, 40)
  }
  header.writeBigUInt64LE(BigInt(addressOf(payload)), 56)
  header.writeUInt32LE(payload.length, 64)
  return sendmsg(fd, addressOf(header), 0)
}

t.test('a message over the limits is an error and leaks none of its descriptors', async (t) => {
  const before = openCount()
  const [a, b] = createChannelPair()
  const many = Array.from({ length: MAX_DESCRIPTORS + 1 }, () => a)
  t.equal(sendRaw(a, Buffer.from('x'), many), 1)
  t.throws(() => receiveDescriptors(b), { code: 'SYSTEM_CALL' })
  t.equal(sendRaw(a, Buffer.alloc(MAX_PAYLOAD_BYTES + 1), [a, a]), MAX_PAYLOAD_BYTES + 1)
  t.throws(() => receiveDescriptors(b), { code: 'SYSTEM_CALL' })
  t.equal(sendRaw(a, Buffer.alloc(0), [a]), 0)
  t.throws(() => receiveDescriptors(b), { code: 'SYSTEM_CALL' })
  closeAll([a, b])
  t.equal(openCount(), before)
})

t.test('a full channel says so, and a gone peer is an error', async (t) => {
  const [a, b] = createChannelPair()
  let count = 0
  while (count < 1000 && sendDescriptors(a, Buffer.alloc(4096))) count++
  t.ok(count > 1 && count < 1000)
  closeSync(b)
  t.throws(() => sendDescriptors(a, Buffer.from('x')), { code: 'SYSTEM_CALL' })
  t.equal(receiveDescriptors(a), 'eof')
  closeSync(a)
})

t.test('a channel delivers messages, queues what the peer does not take, and tells the end', async (t) => {
  const before = openCount()
  const [a, b] = createChannelPair()
  const [atA, atB] = [new Recorder(), new Recorder()]
  const sender = new DescriptorChannel(a, atA)
  const file = openSync('/dev/null', 'r')
  const total = 500
  for (let i = 0; i < total; i++)
    t.ok(sender.send(Buffer.alloc(2000, i & 255), i === total - 1 ? [file] : []))
  const inode = fstatSync(file).ino
  closeSync(file) // the queued message holds a copy
  t.ok(sender.queuedCount > 0)
  const receiver = new DescriptorChannel(b, atB)
  await atB.until(total)
  t.equal(sender.queuedCount, 0)
  const messages = atB.events as DescriptorMessage[]
  t.ok(messages.every((message, i) => message.payload.length === 2000 && message.payload[0] === (i & 255)))
  const [fd = -1] = messages.at(-1)?.fds ?? []
  t.equal(fstatSync(fd).ino, inode)
  closeSync(fd)
  receiver.send(Buffer.from('last words'))
  receiver.close()
  receiver.close()
  await atA.until(2)
  t.match(atA.events, [{ payload: Buffer.from('last words') }, { closed: null }])
  t.ok(sender.isClosed)
  t.equal(sender.send(Buffer.from('x')), false)
  t.equal(atB.events.length, total, 'one who closes hears nothing more')
  await settled(before)
  t.equal(openCount(), before)
})

t.test('a hostile message closes the channel with an error', async (t) => {
  const [a, b] = createChannelPair()
  const recorder = new Recorder()
  new DescriptorChannel(b, recorder)
  sendRaw(a, Buffer.alloc(MAX_PAYLOAD_BYTES + 1), [a])
  await recorder.until(1)
  t.match(recorder.events, [{ closed: { code: 'SYSTEM_CALL' } }])
  closeSync(a)
})

t.test('a peer that vanishes while messages wait is an end, and the queue is given up', async (t) => {
  const before = openCount()
  const [a, b] = createChannelPair()
  const recorder = new Recorder()
  const channel = new DescriptorChannel(a, recorder)
  const file = openSync('/dev/null', 'r')
  for (let i = 0; i < 500; i++) channel.send(Buffer.alloc(2000), [file])
  closeSync(b)
  channel.send(Buffer.from('x'))
  await recorder.until(1)
  t.match(recorder.events, [{ closed: null }])
  closeSync(file)
  await settled(before)
  t.equal(openCount(), before)
})

t.test('descriptors that are closed and opened again are other watches', async (t) => {
  const recorders = [new Recorder(), new Recorder()]
  const [a, b] = createChannelPair()
  const first = new DescriptorChannel(a, recorders[0] ?? new Recorder())
  sendDescriptors(b, Buffer.from('for the first'))
  first.close()
  closeSync(b)
  const [c, d] = createChannelPair()
  const second = new DescriptorChannel(c, recorders[1] ?? new Recorder())
  sendDescriptors(d, Buffer.from('for the second'))
  await recorders[1]?.until(1)
  t.match(recorders[1]?.events, [{ payload: Buffer.from('for the second') }])
  t.same(recorders[0]?.events, [])
  second.close()
  closeSync(d)
})

/** The poll gives its own descriptors up one turn after the last channel. */
async function settled(count: number): Promise<void> {
  for (let turn = 0; turn < 1000 && openCount() > count; turn++) await new Promise(setImmediate)
}
