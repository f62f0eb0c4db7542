// SPDX-License-Identifier: Apache-2.0
// Entering network namespaces and coming back.
import { spawnSync } from 'node:child_process'
import { readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { AF_INET } from '../../mesh/reactor/ffi/constants.ts'
import { close } from '../../mesh/reactor/ffi/libc.ts'
import { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import { createSocket } from '../../mesh/reactor/socket-options.ts'
import { openListener } from '../../mesh/reactor/tcp-listener.ts'

const here = (): string => readlinkSync('/proc/thread-self/ns/net')

t.test('the thread is inside during the action only, also when it throws', async (t) => {
  const home = here()
  const pod = NetworkNamespace.create()
  t.equal(here(), home, 'making one does not move us')
  t.equal(
    pod.run(() => here()),
    `net:[${pod.inode}]`,
  )
  t.equal(here(), home)
  t.throws(
    () =>
      pod.run(() => {
        throw new Error('planted')
      }),
    { message: 'planted' },
  )
  t.equal(here(), home)
  pod.close()
})

t.test('sockets stay where they were made', async (t) => {
  const [one, two] = [NetworkNamespace.create(), NetworkNamespace.create()]
  const fds = [one, two].map((namespace) => namespace.run(() => openListener('0.0.0.0', 7777)))
  t.equal(new Set(fds).size, 2, 'the same port in two namespaces')
  t.throws(() => one.run(() => openListener('0.0.0.0', 7777)), { code: 'PORT_TAKEN', detail: /in use/ })
  const ours = createSocket(AF_INET, 1)
  for (const fd of [...fds, ours]) close(fd)
  one.close()
  two.close()
})

t.test('a way back that is closed, or leads elsewhere, ends the process at once', async (t) => {
  const fixture = join(import.meta.dirname, '../fixtures/lost-namespace.ts')
  for (const how of ['closed', 'replaced']) {
    // Without a core dump: the abort is meant.
    const done = spawnSync('sh', ['-c', `ulimit -c 0; exec "${process.execPath}" "${fixture}" ${how}`], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH },
    })
    t.equal(done.stdout, 'entering\n', how)
    t.equal(done.signal, 'SIGABRT', how)
  }
})

t.test('a namespace that is gone, or none, is refused by name', async (t) => {
  t.throws(() => NetworkNamespace.open('/run/netns/none'), {
    code: 'NAMESPACE_GONE',
    detail: '/run/netns/none',
  })
  const file = NetworkNamespace.open('/dev/null')
  const home = here()
  t.throws(() => file.run(() => t.fail('inside nowhere')), { code: 'NAMESPACE_GONE' })
  t.equal(here(), home)
  file.close()
})

t.test('closed handles leave no descriptor, however they were had', async (t) => {
  const before = readdirSync('/proc/self/fd').length
  const pod = NetworkNamespace.create()
  const again = NetworkNamespace.open(pod.path)
  t.equal(again.inode, pod.inode)
  const wrapped = NetworkNamespace.fromDescriptor(again.fd)
  t.equal(wrapped.inode, pod.inode)
  pod.close()
  t.equal(
    wrapped.run(() => here()),
    `net:[${wrapped.inode}]`,
    'it lives as long as a handle',
  )
  wrapped.close()
  t.equal(readdirSync('/proc/self/fd').length, before)
})
