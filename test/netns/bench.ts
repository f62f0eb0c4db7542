// SPDX-License-Identifier: Apache-2.0
// The benches run: shortly, two subjects, one question, and the page has figures. How fast is not asked here.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'

const ROOT = join(import.meta.dirname, '..', '..')
const MAIN = join(ROOT, 'bench', 'main.ts')
const DEADLINE_MS = 90_000

/** Not tap's own directory: paths of sockets must be short. */
function temporary(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'bench-test-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

async function bench(
  directory: string,
  ...args: readonly string[]
): Promise<{ readonly code: number | null; readonly errors: string }> {
  // tap's own preload must not reach the benches.
  const env = { PATH: process.env.PATH ?? '', TMPDIR: directory }
  const child = spawn(process.execPath, ['--no-warnings', MAIN, ...args], {
    cwd: ROOT,
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: DEADLINE_MS,
  })
  const closed = once(child, 'close')
  const errors = await text(child.stderr)
  const [code] = (await closed) as [number | null] // as: what the event carries
  return { code, errors }
}

/** The first figure of a row's every cell but the first. */
function figuresOf(page: string, subject: string): number[] {
  const line = page
    .split('\n')
    .find((each) => each.startsWith(`| ${subject} | `) && /\d/.test(each.split('|')[2] ?? ''))
  const cells = line?.split('|').slice(2, -1) ?? []
  return cells.map((cell) => Number(/[\d,.]+/.exec(cell)?.[0].replaceAll(',', '')))
}

t.test('a short run writes a page with figures and leaves nothing behind', async (t) => {
  const directory = temporary(t)
  const out = join(directory, 'RESULTS.md')
  const short = ['--rounds', '1', '--seconds', '1', '--only', 'requests', '--subjects', 'direct,sidestep']
  const { code, errors } = await bench(directory, ...short, '--out', out)
  t.equal(code, 0, errors)
  const page = readFileSync(out, 'utf8')
  const section = page.slice(page.indexOf('## Requests per second'))
  const [requests = 0, p50 = 0, p99 = 0, cpu = 0, sourceCpu = 0, destinationCpu = 0] = figuresOf(
    section,
    'sidestep',
  )
  for (const figure of [requests, p50, p99, cpu, sourceCpu, destinationCpu]) t.ok(figure > 0, section)
  t.ok((figuresOf(section, 'direct')[0] ?? 0) > requests, 'nothing in between is faster')
  t.notMatch(page, ROOT)
  const { questions } = JSON.parse(readFileSync(join(directory, 'results.json'), 'utf8'))
  t.equal(questions.requests.sidestep.samples.length, 1)
  t.same(readdirSync(directory).sort(), ['RESULTS.md', 'results.json'])
})

t.test('wrong arguments are named and exit with 2', async (t) => {
  const { code, errors } = await bench(temporary(t), '--only', 'speed')
  t.equal(code, 2)
  t.match(errors, /one or more of requests, latency, bulk, connections, memory/)
})
