// SPDX-License-Identifier: Apache-2.0
import { readdirSync } from 'node:fs'
import t from 'tap'
import type { CloseReason } from '../../../mesh/reactor/byte-stream.ts'
import { close, connect } from '../../../mesh/reactor/ffi/libc.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import { encodeSocketAddress } from '../../../mesh/reactor/socket-address.ts'
import { createSocket, localAddress } from '../../../mesh/reactor/socket-options.ts'
import { openSocket, type PendingConnect, startConnect } from '../../../mesh/reactor/tcp-connect.ts'
import { openListener } from '../../../mesh/reactor/tcp-listener.ts'
import { ignoringHandler, runUntil } from '../../support/reactor-pairs.ts'

const AF_INET = 2
const AF_INET6 = 10
const SOCK_STREAM = 1

interface Outcome {
  fd: number
  reason: CloseReason | null
  pending: PendingConnect
}
function start(reactor: Reactor, ip: string, port: number, timeoutMs = 2000, isIpv6Socket = false): Outcome {
  const outcome: { fd: number; reason: CloseReason | null } = { fd: -1, reason: null }
  const socket = createSocket(ip.includes(':') || isIpv6Socket ? AF_INET6 : AF_INET, SOCK_STREAM)
  const handler = {
    onConnected: (fd: number) => {
      outcome.fd = fd
      openSocket(reactor, fd, ignoringHandler).destroy({ code: 'OK', detail: '' })
    },
    onConnectFailed: (reason: CloseReason) => {
      outcome.reason = reason
    },
  }
  const pending = startConnect(reactor, socket, ip, port, timeoutMs, handler, isIpv6Socket)
  return Object.assign(outcome, { pending })
}

/** A listener whose queue is full: the kernel answers no further SYN. */
function deafListener(): { readonly port: number; readonly fds: readonly number[] } {
  const fd = openListener('127.0.0.1', 0, { backlog: 0 })
  const port = localAddress(fd)?.port ?? 0
  const fds = [fd]
  for (let i = 0; i < 2; i++) {
    const filler = createSocket(AF_INET, SOCK_STREAM)
    const address = encodeSocketAddress('127.0.0.1', port)
    connect(filler, address.address, address.bytes)
    fds.push(filler)
  }
  return { port, fds }
}

t.test('a connect is told in a later turn, over both families', async (t) => {
  const reactor = new Reactor()
  for (const [listening, ip, isIpv6Socket] of [
    ['127.0.0.1', '127.0.0.1', false],
    ['::1', '::1', false],
    ['::', '127.0.0.1', true],
  ] as const) {
    const fd = openListener(listening, 0)
    const outcome = start(reactor, ip, localAddress(fd)?.port ?? 0, 2000, isIpv6Socket)
    t.equal(outcome.fd, -1, 'not within the call')
    runUntil(reactor, () => outcome.fd >= 0)
    t.equal(outcome.reason, null)
    close(fd)
  }
  t.equal(reactor.pendingTimerCount, 0)
})

t.test('each failure has its reason, and the descriptor is closed', async (t) => {
  const reactor = new Reactor()
  const before = readdirSync('/proc/self/fd').length
  const refused = start(reactor, '127.0.0.1', 1)
  const unroutable = start(reactor, '255.255.255.255', 80)
  t.equal(unroutable.reason, null, 'also a failure at once is told later')
  runUntil(reactor, () => refused.reason !== null && unroutable.reason !== null)
  t.same(refused.reason, { code: 'ENDPOINT_REFUSED', detail: '127.0.0.1:1: Connection refused' })
  t.match(unroutable.reason?.code, /^(NETWORK_UNREACHABLE|CONNECT_FAILED)$/)
  t.equal(readdirSync('/proc/self/fd').length, before)
  t.equal(reactor.pendingTimerCount, 0)
})

t.test('an address that does not answer fails at the deadline', async (t) => {
  const reactor = new Reactor()
  const { port, fds } = deafListener()
  const before = readdirSync('/proc/self/fd').length
  const outcome = start(reactor, '127.0.0.1', port, 100)
  const startedMs = performance.now()
  runUntil(reactor, () => outcome.reason !== null || outcome.fd >= 0)
  t.match(outcome.reason, { code: 'CONNECT_TIMEOUT', detail: `127.0.0.1:${port}: no answer` })
  t.ok(performance.now() - startedMs < 1000)
  t.equal(readdirSync('/proc/self/fd').length, before)
  for (const fd of fds) close(fd)
})

t.test('a cancelled connect says nothing more, whatever it would have said', async (t) => {
  const reactor = new Reactor()
  const before = readdirSync('/proc/self/fd').length
  const outcomes = [start(reactor, '127.0.0.1', 1), start(reactor, '255.255.255.255', 80)]
  for (const { pending } of outcomes) {
    pending.cancel()
    pending.cancel()
  }
  runUntil(reactor, () => false, 50)
  for (const { fd, reason } of outcomes) t.same([fd, reason], [-1, null])
  t.equal(readdirSync('/proc/self/fd').length, before)
  t.equal(reactor.pendingTimerCount, 0)
})
