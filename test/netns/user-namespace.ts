// SPDX-License-Identifier: Apache-2.0
// The laboratory and the redirection also work without root, inside a user namespace of one's own.
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'

for (const file of ['redirect-rules.ts', 'virtual-network.ts']) {
  t.test(`${file} passes in a user namespace`, async (t) => {
    const script = join(import.meta.dirname, file)
    const args = ['--user', '--map-root-user', '--net', process.execPath, script]
    // tap's own preload in the environment would write its files as another user.
    const env = { PATH: process.env.PATH }
    const done = spawnSync('unshare', args, { encoding: 'utf8', timeout: 60_000, env })
    if (done.status !== 0) t.comment(done.stdout + done.stderr)
    t.equal(done.status, 0)
    t.match(done.stdout, /^# \{ total: \d+, pass: \d+ \}$/m)
  })
}
