// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { PassThrough } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'

const PROGRAM = fileURLToPath(new URL('../../support/run-fake-supervisor.ts', import.meta.url))

const HANDLERS_MS = 500

/** The program's process, and its lines as they come. */
function run(t: Test, kind: string): { readonly child: ChildProcess; readonly lines: AsyncIterator<string> } {
  const socket = join(t.testdir(), 'admin.sock')
  const child = spawn(process.execPath, ['--no-warnings', PROGRAM, socket, kind], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {},
  })
  t.teardown(() => void child.kill('SIGKILL'))
  const both = new PassThrough()
  for (const stream of [child.stdout, child.stderr]) stream?.pipe(both, { end: false })
  child.once('close', () => both.end())
  return { child, lines: createInterface(both)[Symbol.asyncIterator]() }
}

/** Exit code, and all it has said. */
async function ended({ child, lines }: ReturnType<typeof run>) {
  const exited = once(child, 'exit') as Promise<[number]> // as: the event's arguments
  const said: string[] = []
  for (let next = await lines.next(); next.done !== true; next = await lines.next()) said.push(next.value)
  return { code: (await exited)[0], said }
}

t.test('it starts from its cache, with its arguments, and obeys signals once', async (t) => {
  const { child, lines } = run(t, 'good')
  const said: string[] = []
  const until = async (what: string): Promise<void> => {
    while (said.at(-1) !== what) {
      const { value, done } = await lines.next()
      if (done === true) throw new Error(`${what} was not said: ${said.join('; ')}`)
      const line = String(value)
      if (line.includes('"msg":"supervisor started"')) said.push('logged')
      else if (!line.startsWith('{')) said.push(line)
    }
  }
  await until('logged')
  t.same(said, ['opened with 2 arguments, a cache', 'started', 'logged'], 'opened once')
  // Its handlers stand a moment after that line: until then SIGHUP would end it.
  await setTimeout(HANDLERS_MS)
  child.kill('SIGHUP')
  await until('upgraded')
  child.kill('SIGTERM')
  child.kill('SIGTERM')
  await until('stopped')
  const [code] = await once(child, 'exit')
  t.equal(code, 0)
  t.equal(said.filter((each) => each === 'stopped').length, 1)
})

t.test('one that cannot serve says why and what to do', async (t) => {
  const { code, said } = await ended(run(t, 'refused'))
  t.equal(code, 2)
  const told = said.find((line) => line.includes('it cannot serve')) ?? '{}'
  t.match(JSON.parse(told), { kind: 'refused', reason: 'CNI_CONFIG', detail: 'by somebody', fix: /\w/ })
})

t.test('wrong options are told line by line; a defect is none of ours to hide', async (t) => {
  t.same(await ended(run(t, 'mistaken')), { code: 2, said: ['one', 'two'] })
  const broken = await ended(run(t, 'broken'))
  t.equal(broken.code, 1)
  t.match(broken.said.join('\n'), /TypeError: a defect/)
})
