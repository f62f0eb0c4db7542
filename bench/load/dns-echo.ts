// SPDX-License-Identifier: Apache-2.0
// A resolver that costs next to nothing: every question comes back as an answer without records. Says `up`, runs until
// it is ended.
import { Reactor } from '../../mesh/reactor/reactor.ts'
import { openDatagramSocket, UdpSocket } from '../../mesh/reactor/udp-socket.ts'

const reactor = new Reactor()
const socket: UdpSocket = new UdpSocket(reactor, openDatagramSocket('0.0.0.0', 53), {
  onDatagram({ block, start, end, peer, local }) {
    block.bytes[start + 2] = (block.bytes[start + 2] ?? 0) | 0x80
    socket.send(block, start, end, peer, local)
  },
  onUndelivered() {},
})
console.log('up')
reactor.run()
