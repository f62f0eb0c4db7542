// SPDX-License-Identifier: Apache-2.0
// Pods that share the host's namespace; those with their own: test/netns/pod-sockets.ts.
import { readdirSync } from 'node:fs'
import t from 'tap'
import * as c from '../../../mesh/reactor/ffi/constants.ts'
import { close } from '../../../mesh/reactor/ffi/libc.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import {
  createSocket,
  DEFAULT_KEEPALIVE,
  getIntOption,
  localAddress,
} from '../../../mesh/reactor/socket-options.ts'
import { startConnect } from '../../../mesh/reactor/tcp-connect.ts'
import { TcpListener } from '../../../mesh/reactor/tcp-listener.ts'
import { readConfig } from '../../../ztunnel/config.ts'
import { PodSockets } from '../../../ztunnel/supervisor/pod-sockets.ts'
import { runUntil } from '../../support/reactor-pairs.ts'

const PATHS = ['--config-file', 'x', '--enrolment-file', 'x', '--ca-directory', 'x']
const { options: config } = readConfig(PATHS, {})
// Ports are the mesh's own: an address of this process alone keeps runs apart.
const ADDRESS = `127.${(process.pid >> 16) & 127}.${(process.pid >> 8) & 255}.${process.pid & 255 || 1}`
const POD = {
  uid: 'u',
  name: 'cart',
  namespace: 'shop',
  serviceAccount: 'cart',
  netns: null,
  address: ADDRESS,
}
const openDescriptors = (): number => readdirSync('/proc/self/fd').length

t.test('a pod without a namespace is reached by tunnel and by SOCKS5, at its address', async (t) => {
  const before = openDescriptors()
  const sockets = PodSockets.open(POD, config)
  t.equal(sockets.namespace, null)
  t.same(
    [...sockets.listeners].map(([kind, fd]) => [kind, localAddress(fd)]),
    [
      ['inbound', { ip: ADDRESS, port: 15_008 }],
      ['socks5', { ip: ADDRESS, port: 15_080 }],
    ],
  )
  t.throws(() => PodSockets.open(POD, config), { code: 'PORT_TAKEN', detail: /in use/ })
  sockets.close()
  t.equal(openDescriptors(), before, 'also what the failed one had opened')
  const again = PodSockets.open(POD, config)
  again.close()
})

t.test('accepted connections find out that their peer is gone: they inherit it', async (t) => {
  const reactor = new Reactor()
  const sockets = PodSockets.open(POD, config)
  for (const [kind, listening] of sockets.listeners) {
    let accepted = -1
    let connected = -1
    const listener = new TcpListener(
      reactor,
      listening,
      { onAccept: (fd) => (accepted = fd), onAcceptRefused: (error) => t.fail(error.message) },
      true,
    )
    startConnect(
      reactor,
      createSocket(c.AF_INET, c.SOCK_STREAM),
      ADDRESS,
      localAddress(listening)?.port ?? 0,
      2000,
      {
        onConnected(fd) {
          reactor.unwatch(fd)
          connected = fd
        },
        onConnectFailed: ({ detail }) => t.fail(detail),
      },
    )
    runUntil(reactor, () => accepted >= 0 && connected >= 0)
    t.equal(getIntOption(accepted, c.SOL_SOCKET, c.SO_KEEPALIVE), 1, kind)
    t.equal(getIntOption(accepted, c.IPPROTO_TCP, c.TCP_KEEPIDLE), DEFAULT_KEEPALIVE.idleSeconds)
    t.equal(getIntOption(accepted, c.IPPROTO_TCP, c.TCP_KEEPINTVL), DEFAULT_KEEPALIVE.intervalSeconds)
    t.equal(getIntOption(accepted, c.IPPROTO_TCP, c.TCP_KEEPCNT), DEFAULT_KEEPALIVE.probes)
    for (const fd of [accepted, connected]) close(fd)
    listener.close()
  }
  sockets.close()
  reactor.destroy()
})
