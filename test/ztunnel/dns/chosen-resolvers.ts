// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isRefusal, type Refusal, refuse } from '../../../mesh/errors/refusal.ts'
import type { SocketAddress } from '../../../mesh/reactor/socket-address.ts'
import { ChosenResolvers } from '../../../ztunnel/dns/chosen-resolvers.ts'

const LOCAL = { ip: '127.0.0.1', port: 15_053 }
const peer = (port: number): SocketAddress => ({ ip: '10.1.0.1', port })

function open(answer: (asked: SocketAddress) => SocketAddress | Refusal) {
  const book = { opened: 0, closed: 0, asked: [] as number[] }
  const resolvers = new ChosenResolvers(() => {
    book.opened++
    return {
      originalDestination(_, from) {
        book.asked.push(from.port)
        return answer(from)
      },
      close: () => book.closed++,
    }
  })
  return { book, resolvers }
}

t.test('the kernel is asked once per flow and moment, by one table', async (t) => {
  const { book, resolvers } = open(({ port }) => ({ ip: `10.96.0.${port}`, port: 53 }))
  t.same(resolvers.of(LOCAL, peer(1), 0), { ip: '10.96.0.1', port: 53 })
  t.same(resolvers.of(LOCAL, peer(1), 1999), { ip: '10.96.0.1', port: 53 })
  t.same(resolvers.of(LOCAL, peer(2), 1999), { ip: '10.96.0.2', port: 53 }, 'a port is not another one')
  t.same(book.asked, [1, 2])
  resolvers.of(LOCAL, peer(1), 2001)
  t.same(book.asked, [1, 2, 1], 'the port may be another flow by now')
  t.equal(book.opened, 1)
  resolvers.close()
  resolvers.close()
  t.equal(book.closed, 1)
})

t.test('a port of another address of the pod is another flow', async (t) => {
  const { resolvers } = open(({ ip }) => ({ ip: ip === '10.1.0.1' ? '10.96.0.1' : '10.96.0.2', port: 53 }))
  t.match(resolvers.of(LOCAL, peer(1), 0), { ip: '10.96.0.1' })
  t.match(resolvers.of(LOCAL, { ip: '10.1.0.9', port: 1 }, 0), { ip: '10.96.0.2' })
  t.match(resolvers.of(LOCAL, peer(1), 0), { ip: '10.96.0.1' })
})

t.test('what is not known, or is ourselves, is no resolver, and is asked again', async (t) => {
  for (const answer of [refuse('NETLINK', 'no such flow'), LOCAL]) {
    const { book, resolvers } = open(() => answer)
    for (let time = 0; time < 2; time++)
      t.match(resolvers.of(LOCAL, peer(1), 0), { kind: 'refusal', code: 'DNS_RESOLVER_UNKNOWN' })
    t.equal(book.asked.length, 2)
  }
  const { resolvers } = open(() => refuse('MISSING_CAPABILITY', 'NET_ADMIN'))
  t.match(resolvers.of(LOCAL, peer(1), 0), { code: 'MISSING_CAPABILITY' })
  const gone = new ChosenResolvers(() => refuse('NAMESPACE_GONE', 'gone'))
  t.match(gone.of(LOCAL, peer(1), 0), { code: 'NAMESPACE_GONE' })
})

t.test('flows of a port scan do not fill the memory', async (t) => {
  const { book, resolvers } = open(() => ({ ip: '10.96.0.1', port: 53 }))
  for (let port = 1; port <= 1025; port++) t.notOk(isRefusal(resolvers.of(LOCAL, peer(port), 0)))
  resolvers.of(LOCAL, peer(1025), 1)
  t.equal(book.asked.length, 1025)
  resolvers.of(LOCAL, peer(1), 1)
  t.equal(book.asked.length, 1026, 'the oldest was forgotten')
})
