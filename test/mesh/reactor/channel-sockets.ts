// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import {
  ChannelListener,
  connectChannel,
  listenChannel,
  peerCredentials,
} from '../../../mesh/reactor/channel-sockets.ts'
import { createChannelPair, DescriptorChannel } from '../../../mesh/reactor/descriptor-passing.ts'
import { close } from '../../../mesh/reactor/ffi/libc.ts'

/** A short path: tap's own directories are longer than socket addresses may be. */
function socketPath(t: { teardown(action: () => void): void }): string {
  const directory = mkdtempSync(join(tmpdir(), 'sidestep-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  return join(directory, 'socket')
}

t.test('a listener hands over connections whose peer is known', async (t) => {
  const path = socketPath(t)
  const connection = new Promise<number>((resolve) => {
    const listener = new ChannelListener(path, resolve)
    t.teardown(() => listener.close())
  })
  t.equal(statSync(path).mode & 0o777, 0o600)
  const client = connectChannel(path)
  const server = await connection
  t.match(peerCredentials(server), { pid: process.pid, uid: process.getuid?.() })
  const answer = new Promise<string>((resolve) => {
    const channel = new DescriptorChannel(client, {
      onMessage: ({ payload }) => {
        channel.close()
        resolve(payload.toString())
      },
      onClosed: () => undefined,
    })
  })
  const channel = new DescriptorChannel(server, { onMessage: () => undefined, onClosed: () => undefined })
  channel.send(Buffer.from('hello'))
  t.equal(await answer, 'hello')
  channel.close()
})

t.test('closing removes the file and refuses the next', async (t) => {
  const path = socketPath(t)
  const listener = new ChannelListener(path, close)
  listener.close()
  listener.close()
  t.equal(existsSync(path), false)
  t.throws(() => connectChannel(path), { code: 'SYSTEM_CALL' })
})

t.test('a file that nobody listens on is replaced, a living one is not', async (t) => {
  const path = socketPath(t)
  close(listenChannel(path))
  t.ok(existsSync(path))
  const living = listenChannel(path)
  t.throws(() => listenChannel(path), { code: 'SYSTEM_CALL' })
  close(connectChannel(path))
  close(living)
  rmSync(path)
  writeFileSync(path, 'not a socket')
  t.throws(() => listenChannel(path), { code: 'SYSTEM_CALL' })
  t.equal(statSync(path).isFile(), true, 'a file of others is left alone')
})

t.test('paths that do not fit are refused', async (t) => {
  for (const path of ['', 'a'.repeat(108), 'a\0b']) {
    t.throws(() => listenChannel(path), { code: 'SYSTEM_CALL' })
  }
})

t.test('both ends of a pair are of this process', async (t) => {
  const [a, b] = createChannelPair()
  t.match(peerCredentials(a), { pid: process.pid })
  close(a)
  close(b)
})
