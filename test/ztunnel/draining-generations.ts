// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { askDraining, drainSocket, endDraining } from '../../ztunnel/draining-generations.ts'
import { socketDirectory } from '../support/socket-directory.ts'

/** Listens beside the admin socket as a generation would; `answer` is told the request's first line. */
async function generation(
  t: Test,
  path: string,
  answer: (socket: Socket, line: string) => void,
): Promise<void> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', (data) => answer(socket, data.toString().split('\r\n')[0] ?? ''))
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.teardown(() => server.close())
}

const page =
  (value: unknown) =>
  (socket: Socket): void =>
    void socket.end(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n${JSON.stringify(value)}`)

t.test('each that answers is told; others cost no more than their time', async (t) => {
  const admin = join(socketDirectory(t), 'a.sock')
  t.same(await askDraining(admin, 'GET /generation'), [], 'there is none')
  t.match(drainSocket(admin), `${admin}.drain-${process.pid}-`)
  await generation(t, `${admin}.drain-1`, page({ pid: 1 }))
  await generation(t, `${admin}.drain-2`, () => {})
  await generation(t, `${admin}.drain-3`, (socket) => socket.end('HTTP/1.1 404 Not Found\r\n\r\n{}'))
  await generation(t, `${admin}.drain-4`, (socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n{'))
  await generation(t, `${admin}.drain-5`, (socket) => socket.end(Buffer.alloc(2 * 1024 * 1024, 'x')))
  await generation(t, `${admin}-other.drain-6`, page({ pid: 6 }))
  t.same(await askDraining(admin, 'GET /generation'), [{ pid: 1 }])
})

t.test('the socket of one that was killed is taken away', async (t) => {
  const admin = join(socketDirectory(t), 'a.sock')
  const path = `${admin}.drain-1`
  const code = `require('net').createServer().listen('${path}', () => process.kill(process.pid, 'SIGKILL'))`
  spawnSync(process.execPath, ['-e', code])
  t.ok(existsSync(path))
  t.same(await askDraining(admin, 'GET /generation'), [])
  t.notOk(existsSync(path))
})

t.test('all are told to end, and waited for', async (t) => {
  const admin = join(socketDirectory(t), 'a.sock')
  const path = `${admin}.drain-1`
  const lines: string[] = []
  await generation(t, path, (socket, line) => {
    lines.push(line)
    page({ seconds: 9 })(socket)
    setTimeout(() => rmSync(path, { force: true }), 300)
  })
  await endDraining(admin, 9)
  t.same(lines, ['POST /end?seconds=9 HTTP/1.1'])
  t.notOk(existsSync(path))
})

t.test('one that does not end in its time is not waited for', async (t) => {
  const admin = join(socketDirectory(t), 'a.sock')
  await generation(t, `${admin}.drain-1`, page({ seconds: 0 }))
  await endDraining(admin, 0)
  t.ok(existsSync(`${admin}.drain-1`))
})
