// SPDX-License-Identifier: Apache-2.0
// A question to resolvers that answer well, badly, late or not at all; real sockets on loopback.
import { readdirSync } from 'node:fs'
import dnsPacket from 'dns-packet'
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { ForwardedQuery } from '../../../ztunnel/dns/forwarded-query.ts'
import { DNS_TIMEOUT_MS } from '../../../ztunnel/dns/limits.ts'
import { answer, Datagrams, DnsPod, question } from '../../support/dns-pod.ts'
import { runUntil, settle } from '../../support/reactor-pairs.ts'

/** A question under way to a resolver of the test; `ends` is how it ended. */
function ask(pod = new DnsPod(), id = 7) {
  const resolver = new Datagrams(pod)
  const ends: (Buffer | string)[] = []
  const { scratch } = pod.resources
  const message = question(id)
  message.copy(scratch.bytes, 100)
  const query = ForwardedQuery.start(
    pod.resources,
    pod.dialer,
    resolver.socket.local,
    { block: scratch, start: 100, end: 100 + message.length },
    {
      onAnswer: ({ bytes }, start, end) => void ends.push(Buffer.from(bytes.subarray(start, end))),
      onFailed: ({ code, detail }) => void ends.push(`${code}: ${detail}`),
    },
  )
  runUntil(pod.reactor, () => resolver.received.length === 1)
  const [asked] = resolver.received
  const reply = (bytes: Uint8Array): void => resolver.send(bytes, asked?.peer ?? resolver.socket.local)
  return { pod, resolver, query, ends, message, asked, reply }
}

t.test('the question goes as it is, the answer comes as it is', async (t) => {
  const { pod, ends, message, asked, reply } = ask()
  t.same(asked?.bytes, message)
  t.equal(pod.resources.forwardedCount, 1)
  reply(answer(7))
  runUntil(pod.reactor, () => ends.length > 0)
  t.same(ends, [answer(7)])
  t.equal(pod.resources.forwardedCount, 0)
})

t.test('a truncated answer is the client’s to judge, an answer of another id is none', async (t) => {
  const { pod, ends, reply } = ask()
  for (const bytes of [answer(8), answer(0x0700), Buffer.of(0), Buffer.alloc(0), Buffer.of(0, 8)])
    reply(bytes)
  settle(pod.reactor, () => false)
  t.same(ends, [])
  const short = answer(7, '', dnsPacket.TRUNCATED_RESPONSE)
  reply(short)
  runUntil(pod.reactor, () => ends.length > 0)
  t.same(ends, [short])
})

t.test('nobody else’s answer is heard, whatever it says', async (t) => {
  const { pod, ends, asked, reply } = ask()
  for (const ip of ['127.0.0.1', '127.0.0.9']) {
    const stranger = new Datagrams(pod, ip)
    for (let i = 0; i < 50; i++) stranger.send(answer(7, '203.0.113.66'), asked?.peer ?? { ip, port: 1 })
  }
  settle(pod.reactor, () => false)
  t.same(ends, [])
  reply(answer(7))
  runUntil(pod.reactor, () => ends.length > 0)
  t.same(ends, [answer(7)])
})

t.test(
  'a flood of wrong answers costs no other question its own, and the first right one is the only one',
  async (t) => {
    const { pod, ends, reply } = ask()
    const other = ask(pod, 9)
    for (let i = 0; i < 500; i++) reply(answer(1000 + i))
    other.reply(answer(9))
    runUntil(pod.reactor, () => other.ends.length > 0)
    t.same(other.ends, [answer(9)])
    for (const ip of ['192.0.2.1', '192.0.2.2', '192.0.2.3']) reply(answer(7, ip))
    settle(pod.reactor, () => false)
    t.same(ends, [answer(7)])
    t.equal(pod.resources.forwardedCount, 0)
  },
)

t.test('where nobody listens it fails at once, and once', async (t) => {
  const pod = new DnsPod()
  const gone = new Datagrams(pod)
  const address = gone.socket.local
  gone.socket.close()
  pod.reactor.runTurn(0)
  const ends: string[] = []
  const { scratch } = pod.resources
  question(7).copy(scratch.bytes, 100)
  const query = ForwardedQuery.start(
    pod.resources,
    pod.dialer,
    address,
    { block: scratch, start: 100, end: 133 },
    { onAnswer: () => void ends.push('answered'), onFailed: ({ detail }) => void ends.push(detail) },
  )
  t.notOk(isRefusal(query))
  runUntil(pod.reactor, () => ends.length > 0)
  t.same(ends, ['127.0.0.1: Connection refused'])
  t.equal(pod.resources.forwardedCount, 0)
})

t.test('one that never answers is given up in time, and leaves nothing', { timeout: 15_000 }, async (t) => {
  const pod = new DnsPod()
  const before = readdirSync('/proc/self/fd').length
  const { resolver, ends, reply } = ask(pod)
  const startMs = performance.now()
  runUntil(pod.reactor, () => ends.length > 0, DNS_TIMEOUT_MS + 2_000)
  t.ok(performance.now() - startMs > DNS_TIMEOUT_MS - 200)
  t.same(ends, ['DNS_UPSTREAM: 127.0.0.1: no answer'])
  reply(answer(7))
  settle(pod.reactor, () => false)
  t.equal(ends.length, 1, 'too late')
  t.equal(pod.resources.forwardedCount, 0)
  resolver.socket.close()
  pod.reactor.runTurn(0)
  t.equal(readdirSync('/proc/self/fd').length, before)
})

t.test('who asks no more hears nothing more', async (t) => {
  const { pod, query, ends, reply } = ask()
  if (!isRefusal(query)) query.cancel()
  reply(answer(7))
  settle(pod.reactor, () => false)
  t.same(ends, [])
  t.equal(pod.resources.forwardedCount, 0)
})
