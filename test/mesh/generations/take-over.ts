// SPDX-License-Identifier: Apache-2.0
// What may be found behind the socket; the good case: test/ztunnel/supervisor-link.ts.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ADOPTION_TIMEOUT_MS } from '../../../mesh/generations/handover.ts'
import { findGeneration } from '../../../mesh/generations/take-over.ts'
import { ChannelListener } from '../../../mesh/reactor/channel-sockets.ts'
import { sendDescriptors } from '../../../mesh/reactor/descriptor-passing.ts'
import { close } from '../../../mesh/reactor/ffi/libc.ts'
import { socketDirectory } from '../../support/socket-directory.ts'

const KEPT = JSON.stringify({ type: 'pod-kept', pod: { uid: 'u' }, listeners: ['inbound'], sharesHost: true })

function serve(t: Test, onConnection: (fd: number) => void): string {
  const path = join(socketDirectory(t), 'handover')
  const listener = new ChannelListener(path, onConnection)
  t.teardown(() => listener.close())
  return path
}

t.test('a process that ends in the middle is none, and leaves no descriptor', async (t) => {
  const path = serve(t, (fd) => {
    sendDescriptors(fd, Buffer.from(KEPT), [0])
    close(fd)
  })
  const before = readdirSync('/proc/self/fd').length
  t.equal(await findGeneration(path), null)
  t.equal(readdirSync('/proc/self/fd').length, before)
})

t.test('a process that says nothing is not waited for longer than the limit', async (t) => {
  const held: number[] = []
  const path = serve(t, (fd) => void held.push(fd))
  const startedMs = performance.now()
  t.equal(await findGeneration(path), null)
  t.ok(performance.now() - startedMs >= ADOPTION_TIMEOUT_MS - 50)
  for (const fd of held) close(fd)
})

t.test('a file that nobody listens on is no process', async (t) => {
  t.equal(await findGeneration(join(t.testdir({ plain: '' }), 'plain')), null)
})
