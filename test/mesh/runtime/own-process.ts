// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process'
import t from 'tap'
import { readOwnProcess } from '../../../mesh/runtime/own-process.ts'

t.test('what the kernel says of this process', async (t) => {
  t.match(readOwnProcess('limits'), /^Max open files +\d+/m)
  t.match(readOwnProcess('statm'), /^\d+ \d+ /)
  t.match(readOwnProcess('smaps'), /^Rss: +\d+ kB$/m)
})

t.test('without a free descriptor nothing can be read, and the process goes on', async (t) => {
  const script = `
    const { spawnSync } = await import('node:child_process')
    const { readOwnProcess } = await import('./mesh/runtime/own-process.ts')
    const { readDescriptorLimit } = await import('./mesh/runtime/descriptor-limit.ts')
    const { releaseFilePages } = await import('./mesh/reactor/trim-memory.ts')
    const look = () => [readOwnProcess('statm') !== null, readDescriptorLimit() !== null]
    const before = look()
    const narrow = spawnSync('sh', ['-c', '(sleep 0.5; prlimit --pid ' + process.pid + ' --nofile=1024:) >/dev/null 2>&1 & ' +
      'prlimit --pid ' + process.pid + ' --nofile=3:'])
    const without = look()
    releaseFilePages()
    await new Promise((resolve) => setTimeout(resolve, 1500))
    process.stdout.write(JSON.stringify([narrow.status, before, without, look()]))`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
  })
  t.equal(stdout, JSON.stringify([0, [true, true], [false, false], [true, true]]), stderr)
})
