// SPDX-License-Identifier: Apache-2.0
// Workers never return to libuv: the process must still come to its end, and a dead worker's peers must hear of it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { createWakeFd, ReactorWorker, type WorkerExit } from '../../mesh/reactor/worker.ts'
import type { Command } from '../fixtures/reactor-thread.ts'
import { TestAuthority } from '../support/certificates.ts'

const MAX_LEAVING_MS = 2000
const authority = await TestAuthority.create()
const identity = { trustDomain: 'cluster.local', namespace: 'test', serviceAccount: 'leaving' }
const setup = JSON.stringify({ ...(await authority.sign(identity)), rootPem: authority.rootPem })

for (const how of ['exit', 'terminate'] as const) {
  t.test(`${how} under load takes less than two seconds`, async (t) => {
    const fixture = join(import.meta.dirname, '../fixtures/exit-under-load.ts')
    const child = spawn(process.execPath, [fixture, how, setup], {
      env: { PATH: process.env.PATH },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let printed = ''
    let leavingMs = 0
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (leavingMs === 0) leavingMs = performance.now()
      printed += text
    })
    const [code] = await once(child, 'close')
    const tookMs = performance.now() - leavingMs
    t.ok(tookMs < MAX_LEAVING_MS, `${Math.round(tookMs)} ms`)
    t.equal(code, how === 'exit' ? 7 : 0)
    t.match(printed, how === 'exit' ? /^leaving\n$/ : /^leaving\n\d+\n$/)
  })
}

t.test("a dead worker's peers are reset within 100 ms of its end", async (t) => {
  let onMessage: (text: string) => void = () => {}
  const exited = Promise.withResolvers<{ exit: WorkerExit; atMs: number }>()
  const worker = new ReactorWorker<Command, string>(
    new URL('../fixtures/reactor-thread.ts', import.meta.url),
    {
      name: 'test',
      data: null,
      wakeFd: createWakeFd(),
      onMessage: (text) => onMessage(text),
      onExit: (exit) => exited.resolve({ exit, atMs: performance.now() }),
    },
  )
  const answer = (): Promise<string> =>
    new Promise((resolve) => {
      onMessage = resolve
    })
  const listening = answer()
  worker.post({ type: 'listen' })
  const port = Number(await listening)
  const accepted = answer()
  const socket = connect(port, '127.0.0.1')
  const failed = new Promise<{ code: string; atMs: number }>((resolve) => {
    socket.on('error', (error: NodeJS.ErrnoException) => {
      resolve({ code: error.code ?? '', atMs: performance.now() })
    })
  })
  t.equal(await accepted, 'accepted')
  worker.post({ type: 'throw' })
  const [{ exit, atMs }, failure] = await Promise.all([exited.promise, failed])
  t.equal(failure.code, 'ECONNRESET')
  t.ok(Math.abs(failure.atMs - atMs) <= 100, `${Math.round(failure.atMs - atMs)} ms`)
  t.equal(exit.closedDescriptors, 4, 'loop, listener, its reserve, the connection')
  t.equal(worker.descriptorCount, 0)
})
