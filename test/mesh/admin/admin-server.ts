// SPDX-License-Identifier: Apache-2.0
// The same server on a port, for everybody: a few routes, callers that misbehave. The socket is tried in test/netns.
import { once } from 'node:events'
import { connect } from 'node:net'
import { pino } from 'pino'
import t from 'tap'
import { AdminServer } from '../../../mesh/admin/admin-server.ts'
import { statusRoutes } from '../../../ztunnel/admin-routes.ts'
import type { App } from '../../../ztunnel/app.ts'

let pending: readonly string[] = ['configuration']
const app = { pending: () => pending, log: pino({ level: 'silent' }) } as unknown as App // as: what these routes read
const server = new AdminServer(app, statusRoutes)
const port = await server.listenTcp(0)
t.teardown(() => server.close())
const ask = async (path: string, method = 'GET') => {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method })
  return { status: answer.status, body: await answer.text() }
}

t.test('ready is what nothing is pending for', async (t) => {
  t.same(await ask('/ready'), { status: 500, body: 'not ready, pending: configuration\n' })
  pending = []
  t.same(await ask('/ready'), { status: 200, body: 'ready\n' })
})

t.test('a stream goes on until its reader leaves, and a silent reader is not cut off', async (t) => {
  let [closed, unread] = [0, 0]
  const streaming = new AdminServer(app, {
    '/stream': {
      method: 'GET',
      answer: () => ({
        type: 'application/x-ndjson',
        open(sink) {
          sink.write('one\n')
          setTimeout(() => sink.write(Buffer.from('two\n')), 10)
          const timer = setInterval(() => {
            sink.write('x'.repeat(1_000_000))
            unread = sink.unreadBytes
          }, 1)
          return () => {
            clearInterval(timer)
            closed++
          }
        },
      }),
    },
  })
  const at = await streaming.listenTcp(0)
  t.teardown(() => streaming.close())
  const caller = connect(at, '127.0.0.1')
  caller.write('GET /stream HTTP/1.1\r\n\r\n')
  let text = ''
  for await (const chunk of caller) {
    text += String(chunk)
    if (/two/.test(text)) break
  }
  t.match(text, /^HTTP\/1\.1 200 OK\r\ncontent-type: application\/x-ndjson\r\n[\s\S]*\r\n\r\none\n/)
  caller.destroy()
  while (closed === 0) await new Promise((resolve) => setImmediate(resolve))
  unread = 0 // the first reader may have been slow, too
  const stalled = connect(at, '127.0.0.1')
  stalled.pause().write('GET /stream HTTP/1.1\r\n\r\n')
  while (unread < 20_000_000) await new Promise((resolve) => setImmediate(resolve))
  stalled.destroy()
  while (closed === 1) await new Promise((resolve) => setImmediate(resolve))
  t.equal(closed, 2, 'what ends it is called once for each')
})

t.test('what the socket serves is not there', async (t) => {
  t.same(Object.keys(statusRoutes), ['/ready', '/metrics'])
  for (const path of ['/config_dump', '/certificates', '/quitquitquit', '/constructor'])
    t.equal((await ask(path)).status, 404, path)
  t.equal((await ask('/ready', 'POST')).status, 405)
})

t.test('who sends too much or no HTTP is turned away, and hinders nobody', async (t) => {
  const answers = { [`GET /${'x'.repeat(9000)}`]: 431, 'HELO you\r\n\r\n': 400 }
  for (const [sent, status] of Object.entries(answers)) {
    const caller = connect(port, '127.0.0.1')
    caller.write(sent)
    const [said] = await once(caller, 'data')
    t.match(String(said), new RegExp(`^HTTP/1\\.1 ${status} `))
    caller.destroy()
  }
  t.equal((await ask('/ready')).status, 200)
})

t.test('a port that is taken is an error', async (t) => {
  const other = new AdminServer(app, statusRoutes)
  await t.rejects(other.listenTcp(port), { code: 'EADDRINUSE' })
  await other.close()
})
