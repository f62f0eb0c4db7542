// SPDX-License-Identifier: Apache-2.0
// Runs every command a page shows, as it stands there, one after the other; only ports are others, because those may be
// taken. What the commands leave running ends with the test.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Test } from 'tap'
import { pageText, ROOT } from './documents.ts'

const COMMANDS_MS = 60_000

async function freePort(): Promise<number> {
  const server = createServer().listen(0)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo // as: TCP
  server.close()
  await once(server, 'close')
  return port
}

/** What the commands did. */
export interface PageRun {
  readonly output: string
  /** Stands for `~`. */
  readonly home: string
  /** The port that was used in place of a shown one. */
  portOf(shown: string): number
}

/** `ports` are those that the page shows; `environment` what it presupposes. */
export async function runPage(
  t: Test,
  page: string,
  ports: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<PageRun> {
  const home = mkdtempSync(join(tmpdir(), 'page-'))
  t.teardown(() => rmSync(home, { recursive: true, force: true }))
  const blocks = [...pageText(page).matchAll(/^```bash\n(.*?)^```$/gms)].map(([, block = '']) => block)
  t.ok(blocks.length >= 3, 'the page shows commands')
  let script = blocks.join('')
  const free = new Map<string, number>()
  for (const shown of ports) {
    t.ok(script.includes(shown), shown)
    free.set(shown, await freePort())
    script = script.replaceAll(shown, String(free.get(shown)))
  }
  const { path = '', ...rest } = environment
  const env = { PATH: `${dirname(process.execPath)}:${path}:${process.env.PATH}`, HOME: home, ...rest }
  const shell = spawn('bash', ['-e', '-o', 'pipefail', '-c', script], { cwd: ROOT, env, detached: true })
  const group = shell.pid ?? 0
  t.teardown(() => {
    try {
      process.kill(-group, 'SIGKILL')
    } catch {
      // The page left nothing running.
    }
  })
  let output = ''
  for (const stream of [shell.stdout, shell.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
  const [code] = (await once(shell, 'exit', { signal: AbortSignal.timeout(COMMANDS_MS) }).catch(() => [
    'too slow',
  ])) as [number | string | null] // as: its event
  t.equal(code, 0, output)
  return { output, home, portOf: (shown) => free.get(shown) ?? 0 }
}
