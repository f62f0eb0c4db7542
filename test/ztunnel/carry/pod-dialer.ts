// SPDX-License-Identifier: Apache-2.0
// Without a namespace of the pod's own; with one: test/netns/pod-sockets.ts.
import { readdirSync } from 'node:fs'
import t from 'tap'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { DescriptorTable } from '../../../mesh/reactor/descriptor-table.ts'
import * as c from '../../../mesh/reactor/ffi/constants.ts'
import { close } from '../../../mesh/reactor/ffi/libc.ts'
import { getIntOption, type Keepalive } from '../../../mesh/reactor/socket-options.ts'
import { PodDialer, refusalOf } from '../../../ztunnel/carry/pod-dialer.ts'

const SO_DOMAIN = 39
const KEEPALIVE: Keepalive = { idleSeconds: 7, intervalSeconds: 3, probes: 2 }

t.test('a dialled socket finds out that its peer is gone, and has the family of the address', async (t) => {
  const descriptors = new DescriptorTable()
  const dialer = new PodDialer(null, descriptors, KEEPALIVE)
  const before = readdirSync('/proc/self/fd').length
  for (const [ip, family] of [
    ['10.0.0.1', c.AF_INET],
    ['fd00::1', c.AF_INET6],
  ] as const) {
    const fd = dialer.open(ip, null)
    t.equal(getIntOption(fd, c.SOL_SOCKET, SO_DOMAIN), family)
    t.equal(getIntOption(fd, c.SOL_SOCKET, c.SO_KEEPALIVE), 1)
    t.equal(getIntOption(fd, c.IPPROTO_TCP, c.TCP_KEEPIDLE), KEEPALIVE.idleSeconds)
    t.equal(getIntOption(fd, c.IPPROTO_TCP, c.TCP_KEEPINTVL), KEEPALIVE.intervalSeconds)
    t.equal(getIntOption(fd, c.IPPROTO_TCP, c.TCP_KEEPCNT), KEEPALIVE.probes)
    close(fd)
  }
  dialer.close()
  t.same(descriptors.list(), [])
  t.equal(readdirSync('/proc/self/fd').length, before, 'the host needs no spare sockets')
})

t.test('a socket that could not be made is a refusal; a defect is not', async (t) => {
  const error = new MeshError('OUT_OF_DESCRIPTORS', { detail: 'socket' })
  t.match(refusalOf(error), { kind: 'refusal', code: 'OUT_OF_DESCRIPTORS', detail: 'socket' })
  t.throws(() => refusalOf(new TypeError('defect')), { name: 'TypeError' })
})
