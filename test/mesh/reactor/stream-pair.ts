// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { HEADROOM_BYTES } from '../../../mesh/reactor/byte-stream.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'
import { createStreamPair } from '../../../mesh/reactor/stream-pair.ts'
import { TcpSocket } from '../../../mesh/reactor/tcp-socket.ts'

t.test('what one socket of a pair is given the other one has, and so with the end of it', async (t) => {
  const reactor = new Reactor()
  const heard: string[] = []
  const listener = (name: string) => ({
    onData: (block: { readonly bytes: Buffer }, start: number, end: number) =>
      void heard.push(`${name} ${block.bytes.toString('latin1', start, end)}`),
    onEnd: () => void heard.push(`${name} end`),
    onDrain: () => {},
    onClose: ({ code }: { readonly code: string }) => void heard.push(`${name} ${code}`),
  })
  const [left, right] = createStreamPair()
  const near = new TcpSocket(reactor, left, listener('near'))
  const far = new TcpSocket(reactor, right, listener('far'))
  const block = reactor.readBlock
  block.bytes.write('hello', HEADROOM_BYTES, 'latin1')
  near.write(block, HEADROOM_BYTES, HEADROOM_BYTES + 5)
  reactor.runTurn(1000)
  near.end()
  reactor.runTurn(1000)
  far.end()
  while (heard.length < 5) reactor.runTurn(1000)
  t.same(heard.slice(0, 2), ['far hello', 'far end'])
  t.same(heard.slice(2).sort(), ['far OK', 'near OK', 'near end'])
  reactor.destroy()
})
