// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import t from 'tap'
import * as c from '../../../mesh/reactor/ffi/constants.ts'
import { close, E } from '../../../mesh/reactor/ffi/libc.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import {
  createSocket,
  DEFAULT_KEEPALIVE,
  getIntOption,
  localAddress,
  originalDestination,
  peerAddress,
  setBindWithoutPort,
  setIpv6Only,
  setKeepalive,
  setNoDelay,
  setReceiveBuffer,
  setReuseAddress,
  setReusePort,
  systemError,
  takeSocketError,
} from '../../../mesh/reactor/socket-options.ts'
import { connectDescriptors } from '../../support/reactor-pairs.ts'

t.test('half-open peers are found: keepalive is set as asked', async (t) => {
  const fd = createSocket(c.AF_INET, c.SOCK_STREAM)
  t.equal(getIntOption(fd, c.SOL_SOCKET, c.SO_KEEPALIVE), 0)
  for (const keepalive of [DEFAULT_KEEPALIVE, { idleSeconds: 7, intervalSeconds: 3, probes: 5 }]) {
    setKeepalive(fd, keepalive)
    t.equal(getIntOption(fd, c.SOL_SOCKET, c.SO_KEEPALIVE), 1)
    t.equal(getIntOption(fd, c.IPPROTO_TCP, c.TCP_KEEPIDLE), keepalive.idleSeconds)
    t.equal(getIntOption(fd, c.IPPROTO_TCP, c.TCP_KEEPINTVL), keepalive.intervalSeconds)
    t.equal(getIntOption(fd, c.IPPROTO_TCP, c.TCP_KEEPCNT), keepalive.probes)
  }
  close(fd)
})

t.test('each option arrives in the kernel', async (t) => {
  const fd = createSocket(c.AF_INET6, c.SOCK_STREAM)
  for (const [set, level, name] of [
    [setNoDelay, c.IPPROTO_TCP, c.TCP_NODELAY],
    [setReuseAddress, c.SOL_SOCKET, c.SO_REUSEADDR],
    [setReusePort, c.SOL_SOCKET, c.SO_REUSEPORT],
    [setBindWithoutPort, c.IPPROTO_IP, c.IP_BIND_ADDRESS_NO_PORT],
    [(it: number) => setIpv6Only(it, true), c.IPPROTO_IPV6, c.IPV6_V6ONLY],
  ] as const) {
    set(fd)
    t.equal(getIntOption(fd, level, name), 1)
  }
  setIpv6Only(fd, false)
  t.equal(getIntOption(fd, c.IPPROTO_IPV6, c.IPV6_V6ONLY), 0)
  setReceiveBuffer(fd, 8192)
  t.equal(getIntOption(fd, c.SOL_SOCKET, c.SO_RCVBUF), 16_384, 'the kernel doubles it')
  close(fd)
})

t.test('errors name the call and have the code of their kind', async (t) => {
  t.match(systemError('bind', E.MFILE), {
    code: 'OUT_OF_DESCRIPTORS',
    detail: 'bind: Too many open files (errno 24)',
  })
  t.match(systemError('x', E.NFILE), { code: 'OUT_OF_DESCRIPTORS' })
  t.match(systemError('x', E.PERM), { code: 'MISSING_CAPABILITY' })
  t.match(systemError('x', E.ACCES), { code: 'MISSING_CAPABILITY' })
  t.match(systemError('x', E.NOBUFS), { code: 'SYSTEM_CALL' })
  t.throws(() => setNoDelay(-1), {
    code: 'SYSTEM_CALL',
    detail: /setsockopt TCP_NODELAY: Bad file descriptor/,
  })
  t.throws(() => takeSocketError(-1), { code: 'SYSTEM_CALL' })
  t.throws(() => createSocket(9999, c.SOCK_STREAM), { code: 'SYSTEM_CALL', detail: /socket/ })
})

t.test('a mark without the capability is refused by name', async (t) => {
  const script = `
    const { createSocket, setMark } = await import('./mesh/reactor/socket-options.ts')
    if (process.getuid() === 0) process.setuid(65534)
    try { setMark(createSocket(2, 1), 1) } catch (error) { console.log(error.code) }`
  // Without tap's preload, which would write its files as another user.
  const args = ['-i', process.execPath, '--input-type=module', '-e', script]
  const printed = execFileSync('env', args, { encoding: 'utf8' })
  t.equal(printed, 'MISSING_CAPABILITY\n')
})

t.test(
  'both ends of a connection are known; without redirection there is no original destination',
  async (t) => {
    const reactor = new Reactor()
    const [client, server] = connectDescriptors(reactor)
    t.same(peerAddress(client), localAddress(server))
    t.same(localAddress(client), peerAddress(server))
    t.equal(takeSocketError(client), 0)
    t.equal(originalDestination(server, '::1'), null)
    const fresh = createSocket(c.AF_INET, c.SOCK_STREAM)
    t.equal(peerAddress(fresh), null)
    t.equal(localAddress(-1), null)
    for (const fd of [client, server, fresh]) close(fd)
  },
)
