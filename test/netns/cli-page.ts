// SPDX-License-Identifier: Apache-2.0
// Every command docs/cli.md shows, as it stands there, while the demo runs: what they say is what the page says.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from '../support/documents.ts'
import { runPage } from '../support/page-commands.ts'

t.setTimeout(120_000)

t.test('the commands of the page say what it says', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'cli-page-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const env = { PATH: process.env.PATH, HOME: directory, TMPDIR: directory }
  const args = ['--no-warnings', join(ROOT, 'demo/main.ts')]
  const demo = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(async () => {
    demo.kill('SIGINT')
    if (demo.exitCode === null) await once(demo, 'exit')
  })
  let shown = ''
  // The first refusal has been shown: both nodes have carried connections.
  await new Promise<void>((resolve, reject) => {
    demo.once('exit', (code) => reject(new Error(`the demo ended with ${code}: ${shown}`)))
    demo.stdout.on('data', (chunk: Buffer) => {
      shown += chunk.toString()
      if (/^ +fix /m.test(shown)) resolve()
    })
  })
  const { output } = await runPage(t, 'docs/cli.md', [], { TMPDIR: directory })
  for (const line of [
    /^shop\/front -> cart\.shop\.svc\.cluster\.local:\d+: ALLOWED, inside mTLS$/m,
    /^shop\/batch -> cart\.shop\.svc\.cluster\.local:\d+: REFUSED$/m,
    /^ {2}code +POLICY_DENY$/m,
    /^ {2}policy +shop\/batch-may-not-call-cart$/m,
    /^ {2}fix +change shop\/batch-may-not-call-cart so that it leaves out cluster\.local\/ns\/shop\/sa\/batch$/m,
    /^exit code 1$/m,
    /^node2 +shop\/cart +cart +served$/m,
    /^services +shop\/cart\.shop\.svc\.cluster\.local$/m,
    /^sidestep 0\.1\.0$/m,
  ])
    t.match(output, line)
  t.equal(output.match(/ALLOWED, inside mTLS/g)?.length, 2, 'of the nodes, and of the dump')
})
