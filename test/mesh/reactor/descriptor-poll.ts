// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process'
import { closeSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import t from 'tap'
import {
  createChannelPair,
  receiveDescriptors,
  sendDescriptors,
} from '../../../mesh/reactor/descriptor-passing.ts'
import { DescriptorPoll } from '../../../mesh/reactor/descriptor-poll.ts'

const poll = DescriptorPoll.shared()

t.test('it calls back until everything is read, and not after unwatch', async (t) => {
  const [a, b] = createChannelPair()
  const seen: string[] = []
  await new Promise<void>((resolve) => {
    poll.watch(b, () => {
      const message = receiveDescriptors(b)
      if (typeof message !== 'string') seen.push(message.payload.toString())
      if (seen.length === 3) resolve()
    })
    for (const text of ['1', '2', '3']) sendDescriptors(a, Buffer.from(text))
  })
  poll.unwatch(b)
  poll.unwatch(b)
  sendDescriptors(a, Buffer.from('4'))
  const [c, d] = createChannelPair()
  await new Promise<void>((resolve) => {
    poll.watch(d, () => resolve())
    closeSync(c)
  })
  poll.unwatch(d)
  t.same(seen, ['1', '2', '3'])
  for (const fd of [a, b, d]) closeSync(fd)
})

t.test('one callback may stop another of the same wake-up', async (t) => {
  const pairs = [createChannelPair(), createChannelPair()]
  let calls = 0
  await new Promise<void>((resolve) => {
    for (const [, end] of pairs) {
      poll.watch(end, () => {
        calls++
        for (const [, other] of pairs) poll.unwatch(other)
        resolve()
      })
    }
    for (const [start] of pairs) sendDescriptors(start, Buffer.from('x'))
  })
  await new Promise(setImmediate)
  t.equal(calls, 1)
  for (const fd of pairs.flat()) closeSync(fd)
})

t.test('a wait under way does not delay the exit of the process', async (t) => {
  const started = performance.now()
  const script = `
    const { DescriptorPoll } = await import('./mesh/reactor/descriptor-poll.ts')
    const { createChannelPair } = await import('./mesh/reactor/descriptor-passing.ts')
    DescriptorPoll.shared().watch(createChannelPair()[0], () => undefined)
    setTimeout(() => process.exit(7), 50)`
  const done = spawnSync(process.execPath, ['--input-type=module', '-e', script], { timeout: 20_000 })
  t.equal(done.status, 7)
  t.ok(performance.now() - started < 4000, 'sooner than the longest wait')
})
