// SPDX-License-Identifier: Apache-2.0
// What the supervisor and the data process do: a listening socket of a pod's namespace is made by one process and
// served by another, which never was in that namespace.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import t from 'tap'
import { createChannelPair, DescriptorChannel } from '../../mesh/reactor/descriptor-passing.ts'
import { close, read } from '../../mesh/reactor/ffi/libc.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import { connectFrom, createLab, listenIn } from '../support/lab.ts'

const CHILD = `
  import { DescriptorChannel } from './mesh/reactor/descriptor-passing.ts'
  import { accept4, close, write } from './mesh/reactor/ffi/libc.ts'
  import { addressOf } from './mesh/reactor/ffi/native.ts'
  import { readlinkSync } from 'node:fs'
  const channel = new DescriptorChannel(3, {
    onMessage({ payload, fds }) {
      const text = Buffer.from(payload + ' of ' + readlinkSync('/proc/self/ns/net'))
      channel.send(Buffer.from('ready'))
      const fd = accept4(fds[0], 0, 0, 0)
      write(fd, addressOf(text), text.length)
      close(fd)
      for (const it of fds) close(it)
    },
    onClosed() {},
  })`

t.test('another process accepts on a socket of a pod', async (t) => {
  const before = readdirSync('/proc/self/fd').length
  const lab = createLab(t, { nodes: [{ name: 'n', pods: [{ name: 'a', ip: '10.1.0.2' }] }] })
  const namespace = lab.pod('a').namespace
  const [own, theirs] = createChannelPair()
  const child = spawn(process.execPath, ['--input-type=module', '-e', CHILD], {
    stdio: ['ignore', 'inherit', 'inherit', theirs],
  })
  close(theirs)
  const answer = Promise.withResolvers<string>()
  const channel = new DescriptorChannel(own, {
    onMessage: ({ payload }) => answer.resolve(payload.toString()),
    onClosed: () => answer.resolve('closed'),
  })
  const listener = listenIn(namespace, 8080)
  t.ok(channel.send(Buffer.from('served outside'), [listener]))
  close(listener)
  t.equal(await answer.promise, 'ready')
  const client = connectFrom(lab.node('n').namespace, '10.1.0.2', 8080)
  t.ok(client >= 0)
  const block = allocateBlock(256)
  const count = read(client, block.address, 256)
  const text = block.bytes.toString('utf8', 0, Math.max(0, count))
  t.match(text, /^served outside of net:\[\d+\]$/)
  t.notMatch(text, String(namespace.inode))
  close(client)
  channel.close()
  const [code] = await once(child, 'exit')
  t.equal(code, 0, 'the child ends by itself once the channel is closed')
  lab.close()
  for (let turn = 0; turn < 1000 && readdirSync('/proc/self/fd').length > before; turn++) {
    await new Promise(setImmediate)
  }
  t.ok(readdirSync('/proc/self/fd').length <= before + 1, "only the thread's own namespace stays open")
})
