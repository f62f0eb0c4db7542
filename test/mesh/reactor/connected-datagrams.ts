// SPDX-License-Identifier: Apache-2.0
import { readdirSync } from 'node:fs'
import t from 'tap'
import { ConnectedDatagrams } from '../../../mesh/reactor/connected-datagrams.ts'
import { AF_INET, SOCK_DGRAM } from '../../../mesh/reactor/ffi/constants.ts'
import { allocateBlock } from '../../../mesh/reactor/ffi/native.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import type { SocketAddress } from '../../../mesh/reactor/socket-address.ts'
import { connectDatagrams, createSocket, setDatagramErrors } from '../../../mesh/reactor/socket-options.ts'
import { openDatagramSocket, UdpSocket, udpSocketCount } from '../../../mesh/reactor/udp-socket.ts'
import { runUntil, settle } from '../../support/reactor-pairs.ts'

/** Somebody on loopback who echoes, and a socket connected to him. */
function connect() {
  const reactor = new Reactor()
  const heard: string[] = []
  const askers: SocketAddress[] = []
  const echo: UdpSocket = new UdpSocket(reactor, openDatagramSocket('127.0.0.1', 0), {
    onDatagram({ block, start, end, peer, local }) {
      askers.push(peer)
      echo.send(block, start, end, peer, local)
    },
    onUndelivered() {},
  })
  const fd = createSocket(AF_INET, SOCK_DGRAM)
  setDatagramErrors(fd, AF_INET)
  connectDatagrams(fd, echo.local)
  const socket = new ConnectedDatagrams(reactor, fd, {
    onDatagram: ({ bytes }, start, end) => void heard.push(bytes.toString('latin1', start, end)),
    onUndelivered: ({ code }) => void heard.push(code),
  })
  const block = allocateBlock(64)
  const send = (text: string) => socket.send(block, 16, 16 + block.bytes.write(text, 16, 'latin1'))
  return { reactor, echo, socket, heard, askers, send }
}

t.test('what is sent to the peer comes back from it, and from nobody else', async (t) => {
  const { reactor, echo, heard, askers, send } = connect()
  for (const text of ['one', '', 'two']) t.equal(send(text), null)
  runUntil(reactor, () => heard.length === 3)
  t.same(heard.splice(0), ['one', '', 'two'])
  const stranger = new UdpSocket(reactor, openDatagramSocket('127.0.0.1', 0), {
    onDatagram() {},
    onUndelivered() {},
  })
  stranger.send(allocateBlock(32), 16, 20, askers[0] ?? echo.local)
  settle(reactor, () => false)
  t.same(heard, [])
})

t.test('a peer that is not there is told once, and of what is not open nothing is', async (t) => {
  const open = udpSocketCount.open
  const before = readdirSync('/proc/self/fd').length
  const { reactor, echo, socket, heard, send } = connect()
  echo.close()
  reactor.runTurn(0)
  t.equal(send('x'), null)
  runUntil(reactor, () => heard.length > 0)
  for (let turn = 0; turn < 20; turn++) reactor.runTurn(0)
  t.same(heard, ['ENDPOINT_REFUSED'])
  socket.close()
  socket.close()
  t.equal(send('y'), null, 'nothing')
  reactor.runTurn(0)
  reactor.destroy()
  t.equal(udpSocketCount.open, open)
  t.equal(readdirSync('/proc/self/fd').length, before)
})

t.test('what cannot go is told at once', async (t) => {
  const { reactor, socket, send } = connect()
  const block = allocateBlock(70_000)
  t.match(socket.send(block, 0, 70_000), { code: 'CONNECT_FAILED', detail: 'Message too long' })
  t.equal(send('shorter'), null)
  socket.close()
  reactor.runTurn(0)
})

t.test('who closes it while it hears is not told more', async (t) => {
  const { reactor, socket, heard, send } = connect()
  const original = heard.push.bind(heard)
  heard.push = (...texts: string[]) => {
    socket.close()
    return original(...texts)
  }
  for (const text of ['a', 'b', 'c']) send(text)
  settle(reactor, () => false)
  t.same([...heard], ['a'])
})
