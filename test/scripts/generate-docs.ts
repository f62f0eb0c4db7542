// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process'
import { appendFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ALL_FINDING_CODES } from '../../controller/translate/finding-codes.ts'
import { REASON_CODES } from '../../mesh/errors/reasons.ts'
import { docPages } from '../../scripts/doc-pages.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const SCRIPT = join(ROOT, 'scripts', 'generate-docs.ts')

function generate(...args: readonly string[]): { readonly status: number | null; readonly stderr: string } {
  return spawnSync(process.execPath, ['--no-warnings', SCRIPT, ...args], { encoding: 'utf8', env: {} })
}

t.test('the committed pages are what the code says', async (t) => {
  const { status, stderr } = generate('--check')
  t.equal(status, 0, stderr)
})

t.test('--check names every page that differs or is missing, and writes nothing', async (t) => {
  const directory = t.testdir({ docs: {} })
  t.equal(generate('--directory', directory).status, 0)
  t.equal(generate('--check', '--directory', directory).status, 0)
  const limits = join(directory, 'docs', 'limits.md')
  appendFileSync(limits, 'changed by hand\n')
  const changed = generate('--check', '--directory', directory)
  t.equal(changed.status, 1)
  t.match(changed.stderr, /^docs\/limits\.md is not what the code says/)
  t.match(readFileSync(limits, 'utf8'), /changed by hand\n$/)
  t.equal(generate('--directory', directory).status, 0)
  t.equal(generate('--check', '--directory', directory).status, 0)
  const empty = generate('--check', '--directory', t.testdir({}))
  t.equal(empty.stderr.trim().split('\n').length, docPages(ROOT).size)
})

t.test('every reason has an anchor of its own', async (t) => {
  const page = docPages(ROOT).get('docs/reasons.md') ?? ''
  for (const code of REASON_CODES) t.equal(page.split(`<a id="${code}"></a>`).length, 2, code)
})

t.test('every finding has an anchor of its own, and what to do', async (t) => {
  const page = docPages(ROOT).get('docs/findings.md') ?? ''
  for (const code of ALL_FINDING_CODES) {
    const rows = page.split('\n').filter((line) => line.includes(`<a id="${code}"></a>`))
    t.equal(rows.length, 1, code)
    t.match(rows[0], /\| (error|warning|info) \| .{10,} \| .{8,} \|$/, code)
  }
})

t.test('no page depends on the machine it was written on', async (t) => {
  const page = docPages(ROOT).get('docs/configuration.md') ?? ''
  t.match(page, /\| `SIDESTEP_NODE_NAME`, `NODE_NAME` \| text \| the host name \|/)
  t.match(page, /\| `SIDESTEP_WORKER_COUNT` \| integer \(threads\), 1 to 64 \| `2` \|/)
  t.match(page, /\| `SIDESTEP_ADMIN_SOCKET` \| path \|/)
})

t.test('metrics and their labels are those of the page itself', async (t) => {
  const page = docPages(ROOT).get('docs/metrics.md') ?? ''
  t.match(page, /\| `istio_tcp_connections_opened_total` \| counter \| traffic \| connections opened \|/)
  t.match(page, /\| `process_open_fds` \| gauge \| {2}\| open file descriptors \|/)
  t.match(page, /\| `sidestep_native_handles` \| gauge \| `worker`, `kind` \|/)
  for (const label of ['reporter', 'response_flags', 'connection_security_policy'])
    t.match(page, `\`${label}\``)
})
