// SPDX-License-Identifier: Apache-2.0
// The port that probes and scrapers ask.
import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { StatusServer } from '../../controller/status-server.ts'

let pending: readonly string[] = ['kubernetes was not read as a whole yet']
const server = new StatusServer({ pending: () => pending, metrics: () => '# EOF\n' })
const port = await server.listen(0)
t.teardown(() => server.close())
const ask = async (path: string, method = 'GET') => {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method })
  return { status: answer.status, body: await answer.text() }
}

t.test('ready is what nothing is pending for', async (t) => {
  t.same(await ask('/ready'), {
    status: 503,
    body: 'not ready, pending: kubernetes was not read as a whole yet\n',
  })
  pending = []
  t.same(await ask('/ready'), { status: 200, body: 'ready\n' })
})

t.test('there are metrics and nothing else', async (t) => {
  t.same(await ask('/metrics?x=1'), { status: 200, body: '# EOF\n' })
  t.equal((await ask('/ready', 'POST')).status, 405)
  for (const path of ['/', '/config', '/ca/roots', '/join-tokens', '/__proto__'])
    t.equal((await ask(path)).status, 404, path)
})

t.test('a caller that sends too much is turned away, one that says nothing hinders nobody', async (t) => {
  const silent = connect(port, '127.0.0.1')
  await once(silent, 'connect')
  const loud = connect(port, '127.0.0.1')
  loud.write(`GET /ready HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(9000)}\r\n\r\n`)
  const [said] = await once(loud, 'data')
  t.match(String(said), /^HTTP\/1\.1 431 /)
  t.equal((await ask('/ready')).status, 200)
  silent.destroy()
  loud.destroy()
})

t.test('a port that is taken is an error', async (t) => {
  const other = new StatusServer({ pending: () => [], metrics: () => '' })
  await t.rejects(other.listen(port), { code: 'EADDRINUSE' })
  await other.close()
})
