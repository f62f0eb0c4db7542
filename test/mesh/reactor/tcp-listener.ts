// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { closeSync, fstatSync, openSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { E } from '../../../mesh/reactor/ffi/libc.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import { createSocket, localAddress } from '../../../mesh/reactor/socket-options.ts'
import { startConnect } from '../../../mesh/reactor/tcp-connect.ts'
import { openListener, TcpListener } from '../../../mesh/reactor/tcp-listener.ts'
import { createWakeFd, ReactorWorker } from '../../../mesh/reactor/worker.ts'
import type { FullListenerReport } from '../../fixtures/full-listener.ts'
import type { Command } from '../../fixtures/reactor-thread.ts'
import { failSystemCall } from '../../support/errno-injection.ts'
import { runUntil } from '../../support/reactor-pairs.ts'

const AF_INET = 2
const SOCK_STREAM = 1
function connectTo(reactor: Reactor, port: number): void {
  startConnect(reactor, createSocket(AF_INET, SOCK_STREAM), '127.0.0.1', port, 2000, {
    onConnected: (fd) => reactor.closeLater(fd),
    onConnectFailed() {},
  })
}

for (const kind of ['own', 'shared'] as const) {
  t.test(`out of descriptors: ${kind} listener tells the peer, does not spin, serves again`, async (t) => {
    const fixture = join(import.meta.dirname, '../../fixtures/full-listener.ts')
    const command = `ulimit -n 96; exec "${process.execPath}" "${fixture}" ${kind}`
    const env = { PATH: process.env.PATH }
    const printed = execFileSync('sh', ['-c', command], { encoding: 'utf8', env, timeout: 20_000 })
    const report = JSON.parse(printed) as FullListenerReport // as: what the fixture prints
    t.equal(report.refusalCodes[0], 'OUT_OF_DESCRIPTORS')
    t.match(report.turnedAway, /^(CONNECT_FAILED|PEER_RESET)$/, 'a reset, never an end in order')
    t.ok(report.turnsWithoutAny < 25, `${report.turnsWithoutAny} turns in 350 ms`)
    t.ok(report.acceptedAfterwards)
  })
}

t.test('a kernel without memory for a connection is asked again later, not at once', async (t) => {
  for (const isShared of [false, true]) {
    const reactor = new Reactor()
    const fd = openListener('127.0.0.1', 0)
    let count = 0
    const listener = new TcpListener(reactor, fd, { onAccept: () => count++, onAcceptRefused() {} }, isShared)
    failSystemCall('accept4', 0, fd, E.NOBUFS)
    connectTo(reactor, localAddress(fd)?.port ?? 0)
    for (let i = 0; i < 4; i++) reactor.runTurn(5)
    const before = reactor.turnCount
    for (const end = performance.now() + 250; performance.now() < end; ) reactor.runTurn(50)
    t.ok(reactor.turnCount - before < 15, `${reactor.turnCount - before} turns in 250 ms`)
    t.equal(count, 0)
    listener.close()
    reactor.runTurn(0)
    t.equal(reactor.pendingTimerCount, 0, 'a closed listener does not come back')
  }
})

t.test('a turn accepts 64 connections at most', async (t) => {
  const reactor = new Reactor()
  const clients = new Reactor()
  const fd = openListener('127.0.0.1', 0)
  let count = 0
  const onAccept = (accepted: number): void => {
    count++
    reactor.closeLater(accepted)
  }
  new TcpListener(reactor, fd, { onAccept, onAcceptRefused() {} }, false)
  for (let i = 0; i < 70; i++) connectTo(clients, localAddress(fd)?.port ?? 0)
  reactor.runTurn(50)
  t.equal(count, 64)
  reactor.runTurn(50)
  t.equal(count, 70)
  for (let i = 0; i < 3; i++) clients.runTurn(5)
})

t.test('a closed listener accepts nothing more; a shared descriptor stays open', async (t) => {
  const before = readdirSync('/proc/self/fd').length
  const reactor = new Reactor()
  const shared = openListener('127.0.0.1', 0)
  const own = openListener('::1', 0)
  const handler = { onAccept: () => t.fail('accepted'), onAcceptRefused() {} }
  const listeners = [
    new TcpListener(reactor, shared, handler, true),
    new TcpListener(reactor, own, handler, false),
  ]
  for (const listener of listeners) {
    listener.close()
    listener.close()
  }
  connectTo(reactor, localAddress(shared)?.port ?? 0)
  runUntil(reactor, () => false, 30)
  t.ok(fstatSync(shared).isSocket())
  t.throws(() => fstatSync(own), { code: 'EBADF' })
  closeSync(shared)
  reactor.destroy()
  t.equal(readdirSync('/proc/self/fd').length, before)
})

t.test('an address in use is an error, and nothing stays open', async (t) => {
  const fd = openListener('127.0.0.1', 0)
  const before = readdirSync('/proc/self/fd').length
  t.throws(() => openListener('127.0.0.1', localAddress(fd)?.port ?? 0), {
    code: 'PORT_TAKEN',
    detail: /bind 127\.0\.0\.1:\d+: Address already in use/,
  })
  t.equal(readdirSync('/proc/self/fd').length, before)
  closeSync(fd)
})

t.test("a worker that closed its listener closes no number of others' when it ends", async (t) => {
  let onAnswer: (text: string) => void = () => {}
  const worker = new ReactorWorker<Command, string>(
    new URL('../../fixtures/reactor-thread.ts', import.meta.url),
    { name: 'test', data: null, wakeFd: createWakeFd(), onMessage: (text) => onAnswer(text), onExit() {} },
  )
  const answered = new Promise<string>((resolve) => {
    onAnswer = resolve
  })
  worker.post({ type: 'listen-and-close' })
  await answered
  // The numbers that the worker used and gave up are ours now.
  const files = Array.from({ length: 10 }, () => openSync('/dev/null', 'r'))
  worker.post({ type: 'stop' })
  await worker.stop()
  for (const file of files) t.ok(fstatSync(file).isCharacterDevice(), `${file} is open`)
  for (const file of files) closeSync(file)
})
