// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { readdirSync, readlinkSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { close } from '../../mesh/reactor/ffi/libc.ts'
import { spawnIn, VirtualNetwork } from '../../mesh/reactor/netlink/virtual-network.ts'
import { peerAddress } from '../../mesh/reactor/socket-options.ts'
import { acceptFrom, connectFrom, createLab, listenIn } from '../support/lab.ts'

const SPEC = {
  nodes: [
    { name: 'n1', pods: [{ name: 'a', ip: '10.1.0.2', ip6: 'fd00:1::2' }] },
    { name: 'n2', pods: [{ name: 'b', ip: '10.2.0.2', ip6: 'fd00:2::2' }] },
    { name: 'n3', pods: [{ name: 'c', ip: '10.3.0.2' }] },
  ],
}

t.test('every node and pod reaches every pod, by both families, with its own address', async (t) => {
  const lab = createLab(t, SPEC)
  lab.addPod('n1', { name: 'd', ip: '10.1.0.3', ip6: 'fd00:1::3' })
  for (const target of lab.pods) {
    const listener = listenIn(target.namespace, 80)
    for (const from of [...lab.pods, ...lab.nodes]) {
      for (const [ip, own] of [
        [target.ip, from.ip],
        [target.ip6, from.ip6],
      ] as const) {
        if (ip === '' || own === '') continue
        const client = connectFrom(from.namespace, ip, 80)
        t.ok(client >= 0, `${from.name} reaches ${ip} (${client})`)
        const accepted = acceptFrom(listener)
        t.equal(peerAddress(accepted)?.ip, own)
        close(accepted)
        close(client)
      }
    }
    close(listener)
  }
})

t.test('a removed pod is unreachable, and its name and address are free again', async (t) => {
  const lab = createLab(t, SPEC)
  lab.removePod('b')
  lab.removePod('b')
  t.throws(() => lab.pod('b'), { code: 'INTERNAL' })
  const listener = listenIn(lab.addPod('n3', { name: 'b', ip: '10.2.0.2' }).namespace, 80)
  const client = connectFrom(lab.pod('a').namespace, '10.2.0.2', 80)
  t.ok(client >= 0)
  close(client)
  close(listener)
  t.throws(() => lab.addPod('n3', { name: 'b', ip: '10.2.0.3' }), { code: 'INTERNAL' })
})

t.test('a child runs in the namespace, its parent does not', async (t) => {
  const lab = createLab(t, SPEC)
  const own = readlinkSync('/proc/thread-self/ns/net')
  const pod = lab.pod('a').namespace
  const child = spawnIn(pod, 'readlink', ['/proc/self/ns/net'], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.equal(readlinkSync('/proc/thread-self/ns/net'), own)
  const output = child.stdout === null ? '' : await text(child.stdout)
  t.equal(output.trim(), `net:[${pod.inode}]`)
  const missing = spawnIn(pod, '/nonexistent')
  const [error] = await once(missing, 'error')
  t.match(error, { code: 'ENOENT' })
  t.equal(readlinkSync('/proc/thread-self/ns/net'), own)
})

t.test('a network that cannot be built leaves nothing behind', async (t) => {
  const before = readdirSync('/proc/self/fd').length
  const pods = [
    { name: 'a', ip: '10.1.0.2' },
    { name: 'b', ip: 'no address' },
  ]
  t.throws(() => VirtualNetwork.create({ nodes: [{ name: 'n', pods }] }), { code: 'NETLINK' })
  const network = VirtualNetwork.create(SPEC)
  network.close()
  network.close()
  t.equal(readdirSync('/proc/self/fd').length, before)
})
