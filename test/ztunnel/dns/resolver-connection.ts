// SPDX-License-Identifier: Apache-2.0
// A TCP connection to resolvers that lie about lengths, take nothing, or are not there; real sockets on loopback.
import { type AddressInfo, createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { ResolverConnection } from '../../../ztunnel/dns/resolver-connection.ts'
import { answer, DnsPod, framed, question } from '../../support/dns-pod.ts'
import { poll } from '../../support/mesh-lab.ts'

/** A connection to a resolver of the test, which does with each of its sockets what `serve` says. */
async function open(t: Test, serve: (socket: Socket) => void) {
  const pod = new DnsPod()
  const server = createServer((socket) => {
    socket.on('error', () => {}) // we break off
    serve(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo // as: TCP
  const messages: Buffer[] = []
  const ends: (string | null)[] = []
  const connection = ResolverConnection.open(
    pod.resources,
    pod.dialer,
    { ip: '127.0.0.1', port },
    {
      onMessage: (bytes, start, end) => void messages.push(Buffer.from(bytes.subarray(start, end))),
      onClosed: (reason) => void ends.push(reason === null ? null : `${reason.code}: ${reason.detail}`),
    },
  )
  if (isRefusal(connection)) throw new Error(connection.detail)
  t.teardown(() => {
    connection.close()
    pod.reactor.runTurn(0)
    server.close()
  })
  /** The reactor and the resolver, which is Node's, take turns. */
  const until = (what: string, holds: () => boolean): Promise<true> =>
    poll(what, () => {
      pod.reactor.runTurn(1)
      return holds() || null
    })
  return { pod, server, connection, messages, ends, until }
}

const send = (connection: ResolverConnection, bytes: Buffer): void => connection.send(bytes, 0, bytes.length)

t.test('what is asked before it stands is asked in order, answers come in whole', async (t) => {
  const received: Buffer[] = []
  const { connection, messages, until } = await open(t, (socket) => {
    socket.on('data', (chunk: Buffer) => {
      received.push(chunk)
      if (Buffer.concat(received).length < 3 * framed(question(1)).length) return
      // Byte by byte, and two in one piece.
      const both = Buffer.concat([framed(answer(1)), framed(answer(2))])
      for (const byte of both.subarray(0, 20)) socket.write(Buffer.of(byte))
      socket.write(both.subarray(20))
    })
  })
  for (const id of [1, 2, 3]) send(connection, framed(question(id)))
  await until('two answers', () => messages.length === 2)
  t.same(Buffer.concat(received), Buffer.concat([1, 2, 3].map((id) => framed(question(id)))))
  t.same(messages, [framed(answer(1)), framed(answer(2))])
})

t.test(
  'a length that promises more than comes brings no message, and the end of the connection',
  async (t) => {
    for (const [lie, rest] of [
      [65_535, answer(1)],
      [answer(1).length + 1, answer(1)],
      [3, Buffer.of(1)],
    ] as const) {
      const { messages, ends, connection, until } = await open(
        t,
        (socket) => void socket.end(framed(rest, lie)),
      )
      send(connection, framed(question(1)))
      connection.end()
      await until('the end', () => ends.length > 0)
      t.same(messages, [])
      t.same(ends, [null], 'ended in order: whoever waits is told by the one who asked')
    }
  },
)

t.test('a length that promises less makes two of one: both are handed on, neither is joined', async (t) => {
  const { messages, until } = await open(
    t,
    (socket) => void socket.write(Buffer.from('0000000201020001ff', 'hex')),
  )
  await until('messages', () => messages.length === 3)
  t.same(
    messages.map((each) => each.toString('hex')),
    ['0000', '00020102', '0001ff'],
  )
})

t.test('a resolver that resets, or is not there, is a failure with its reason', async (t) => {
  const reset = await open(t, (socket) => void socket.once('data', () => socket.resetAndDestroy()))
  send(reset.connection, framed(question(1)))
  await reset.until('the end', () => reset.ends.length > 0)
  t.match(reset.ends, [/^DNS_UPSTREAM: 127\.0\.0\.1: ./])

  const gone = await open(t, () => {})
  const { port } = gone.server.address() as AddressInfo // as: TCP
  gone.server.close()
  const ends: string[] = []
  const refused = ResolverConnection.open(
    gone.pod.resources,
    gone.pod.dialer,
    { ip: '127.0.0.1', port },
    {
      onMessage: () => {},
      onClosed: (reason) => void ends.push(reason?.code ?? 'OK'),
    },
  )
  t.notOk(isRefusal(refused))
  await gone.until('refused', () => ends.length > 0)
  t.same(ends, ['DNS_UPSTREAM'])
})

t.test('a resolver that takes nothing holds a bounded number of questions, then it is none', async (t) => {
  const { pod, connection, ends, until } = await open(t, (socket) => void socket.pause())
  const large = framed(Buffer.alloc(60_000))
  await until('connected', () => pod.reactor.descriptors.list().length > 0)
  let sent = 0
  await until('too much', () => {
    if (ends.length === 0 && sent < 1_000) {
      send(connection, large)
      sent++
    }
    return ends.length > 0
  })
  t.same(ends, ['DNS_UPSTREAM: 127.0.0.1: takes no questions'])
  t.ok(sent < 1_000, `${sent} of 60 kB, most of them in the kernel`)
  send(connection, large)
  t.equal(ends.length, 1)
})

t.test('also before it stands', async (t) => {
  const pod = new DnsPod()
  const ends: string[] = []
  // SPEC RFC5737: nobody is there, so nothing comes back but silence or "no route".
  const connection = ResolverConnection.open(
    pod.resources,
    pod.dialer,
    { ip: '192.0.2.1', port: 53 },
    {
      onMessage: () => {},
      onClosed: (reason) => void ends.push(reason?.detail ?? ''),
    },
  )
  if (isRefusal(connection)) throw new Error(connection.detail)
  for (let i = 0; i < 10; i++) send(connection, framed(Buffer.alloc(60_000)))
  await poll('too much', () => {
    pod.reactor.runTurn(1)
    return ends.length > 0 || null
  })
  t.equal(ends.length, 1)
})
