// SPDX-License-Identifier: Apache-2.0
// Real callers of a Unix socket: who they are is the kernel's word.
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { type AdminRoutes, text } from '../../../mesh/admin/admin-answers.ts'
import { AdminServer } from '../../../mesh/admin/admin-server.ts'
import type { Log } from '../../../mesh/runtime/log.ts'
import { adminRoutes as waypointRoutes } from '../../../waypoint/admin-routes.ts'
import { adminRoutes as ztunnelRoutes } from '../../../ztunnel/admin-routes.ts'

const lines: Readonly<Record<string, unknown>>[] = []
const log: Log = pino({ level: 'info', base: {} }, { write: (line: string) => lines.push(JSON.parse(line)) })
const app = { log, upgrades: { ask: async (): Promise<string | null> => 'one starts already' } }
type Asked = typeof app
const broken: AdminRoutes<Asked> = {
  '/broken': {
    method: 'POST',
    answer: () => {
      throw new Error('a defect')
    },
  },
}
// as: of the whole process these routes read what is above
const changes = Object.fromEntries(
  (['/logging', '/upgrade'] as const).map((path) => [path, ztunnelRoutes[path]]),
) as unknown as AdminRoutes<Asked>
const server = new AdminServer<Asked>(app, {
  ...{ ...changes, ...broken },
  '/look': { method: 'GET', answer: () => text(200, 'seen\n') },
})
const socketPath = join(tmpdir(), `audit-${process.pid}.sock`)
await server.listen(socketPath)
t.teardown(() => server.close())

function ask(method: string, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    request({ socketPath, method, path }, (answer) =>
      answer.resume().on('end', () => resolve(answer.statusCode ?? 0)),
    )
      .on('error', reject)
      .end()
  })
}

const told = (): readonly Readonly<Record<string, unknown>>[] =>
  lines.splice(0).filter(({ audit }) => audit !== undefined)
const me = { uid: process.getuid?.(), pid: process.pid }

t.test('a change is told with what was asked, how it ended, and who asked', async (t) => {
  t.equal(await ask('POST', '/logging?level=debug'), 200)
  t.match(told(), [{ audit: 'logging', asked: 'level=debug', status: 200, ...me }])
  t.equal(await ask('POST', '/upgrade'), 409)
  t.match(told(), [{ audit: 'upgrade', status: 409, ...me }])
})

t.test('one that is refused or breaks is told too', async (t) => {
  t.equal(await ask('POST', '/logging?level=loud'), 400)
  t.match(told(), [{ audit: 'logging', asked: 'level=loud', status: 400 }])
  t.equal(await ask('POST', '/broken'), 500)
  t.match(told(), [{ audit: 'broken', status: 500 }])
})

t.test('who makes the log quiet is in it', async (t) => {
  t.equal(await ask('POST', '/logging?level=fatal'), 200)
  t.match(told(), [{ audit: 'logging', asked: 'level=fatal' }])
  t.equal(await ask('POST', '/logging?level=info'), 200)
  t.match(told(), [{ asked: 'level=info' }])
})

t.test('who only looks is not told, and a long question is cut', async (t) => {
  t.equal(await ask('GET', '/look'), 200)
  t.equal(await ask('GET', '/logging'), 405)
  t.same(told(), [])
  await ask('POST', `/logging?level=${'x'.repeat(4000)}`)
  t.equal(`${told()[0]?.asked}`.length, 200)
})

t.test('everything that changes something is a POST, of ztunnels and of waypoints', async (t) => {
  const posts = (routes: Readonly<Record<string, { readonly method: string }>>): readonly string[] =>
    Object.keys(routes).filter((path) => routes[path]?.method === 'POST')
  t.same(posts(ztunnelRoutes), ['/upgrade', '/logging', '/quitquitquit'])
  t.same(posts(waypointRoutes), ['/upgrade'])
})
