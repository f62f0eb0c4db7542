// SPDX-License-Identifier: Apache-2.0
// A pod that asks by UDP, and floods; real sockets on loopback. Whom the pod wanted to ask is known in a namespace with
// redirection only: test/netns/ztunnel-dns.ts.
import t from 'tap'
import { refuse } from '../../../mesh/errors/refusal.ts'
import { close } from '../../../mesh/reactor/ffi/libc.ts'
import { localAddress } from '../../../mesh/reactor/socket-options.ts'
import { openDatagramSocket } from '../../../mesh/reactor/udp-socket.ts'
import { DnsServer } from '../../../ztunnel/dns/dns-server.ts'
import { Datagrams, DnsPod, question } from '../../support/dns-pod.ts'
import { runUntil, settle } from '../../support/reactor-pairs.ts'

const SERVFAIL = 2
const rcodeOf = (bytes: Buffer | undefined): number => (bytes?.[3] ?? 0xff) & 15
const CART = [{ kind: 'A', name: null, bytes: Uint8Array.of(10, 96, 0, 10) }] as const

function openLab(t: { teardown(end: () => void): void }) {
  const pod = new DnsPod()
  const server = new DnsServer(pod.pod, pod.resources)
  const fd = openDatagramSocket('127.0.0.1', 0, { receiveBufferBytes: 4_000_000 })
  server.listen(fd)
  const client = new Datagrams(pod)
  const address = localAddress(fd) ?? { ip: '127.0.0.1', port: 0 }
  t.teardown(() => {
    server.close(refuse('SHUTDOWN', 'test'))
    close(fd)
  })
  const run = (isDone: () => boolean): void => runUntil(pod.reactor, isDone)
  return { pod, server, client, ask: (bytes: Uint8Array) => client.send(bytes, address), run }
}

t.test('a name of the mesh is asked of main once, then answered here', async (t) => {
  const { pod, server, client, ask, run } = openLab(t)
  for (const id of [1, 2]) ask(question(id, 'cart'))
  run(() => pod.asked.length > 0)
  t.notOk(server.isIdle)
  server.names.learn('cart', 1, CART)
  run(() => client.received.length === 2)
  ask(question(3, 'cart'))
  run(() => client.received.length === 3)
  t.same(pod.asked, ['cart'])
  for (const [index, { bytes }] of client.received.entries()) {
    t.equal(bytes.readUInt16BE(0), index + 1)
    t.equal(rcodeOf(bytes), 0)
    t.same([...bytes.subarray(-4)], [10, 96, 0, 10])
  }
  t.ok(server.isIdle)
})

t.test('what is no message is counted and has no answer', async (t) => {
  const { pod, client, ask } = openLab(t)
  for (let length = 0; length < 12; length++) ask(Buffer.alloc(length, 0xee))
  settle(pod.reactor, () => false)
  t.equal(client.received.length, 0)
  t.ok(pod.hasCounted('DNS_MALFORMED'))
})

t.test('what has no resolver is SERVFAIL to who asked; an answer is none of a question', async (t) => {
  const { pod, client, ask, run } = openLab(t)
  const garbage = Buffer.from('00030100000100000000000041', 'hex')
  ask(garbage)
  run(() => client.received.length === 1)
  t.equal(rcodeOf(client.received[0]?.bytes), SERVFAIL)
  const unasked = Buffer.from(garbage)
  unasked[2] = 0x80
  ask(unasked)
  settle(pod.reactor, () => false)
  t.equal(client.received.length, 1, 'two resolvers that answer each other would never end')
})

t.test('a flood of names costs main a bounded number of questions; every one has an end', async (t) => {
  const { pod, server, client, ask, run } = openLab(t)
  server.names.learn('cart', 1, CART)
  const count = 2_000
  for (let id = 1; id <= count; id++) {
    ask(question(id, `n${id}.shop`))
    if (id % 100 === 0) pod.reactor.runTurn(0)
  }
  ask(question(count + 1, 'cart'))
  run(() => client.received.length === count + 1)
  const rcodes = new Map(client.received.map(({ bytes }) => [bytes.readUInt16BE(0), rcodeOf(bytes)]))
  t.equal(rcodes.size, count + 1)
  t.equal(rcodes.get(count + 1), 0, 'what is known is answered all the same')
  t.equal([...rcodes.values()].filter((rcode) => rcode === SERVFAIL).length, count)
  t.ok(pod.asked.length < count, `${pod.asked.length} were asked of main`)
  t.ok(pod.hasCounted('LIMIT_POD'))
  t.ok(server.isIdle)
})

t.test('one that drains answers what it was asked, hears nothing new, and leaves its socket', async (t) => {
  const { pod, server, client, ask, run } = openLab(t)
  ask(question(1, 'cart'))
  run(() => pod.asked.length > 0)
  let leftCount = 0
  server.drain(() => leftCount++)
  ask(question(2, 'cart'))
  settle(pod.reactor, () => false)
  t.equal(leftCount, 0, 'it answers from there')
  server.names.learn('cart', 1, CART)
  run(() => client.received.length > 0)
  run(() => leftCount > 0)
  settle(pod.reactor, () => false)
  t.equal(leftCount, 1)
  t.same(
    client.received.map(({ bytes }) => bytes.readUInt16BE(0)),
    [1],
  )
})
