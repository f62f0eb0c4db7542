// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process'
import t from 'tap'

t.test('garbage and free memory go back to the system', async (t) => {
  const script = `
    const { readFileSync } = await import('node:fs')
    const { trimMemory } = await import('./mesh/reactor/trim-memory.ts')
    const kb = () => Number(/^RssAnon:\\s+(\\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'))[1])
    trimMemory()
    const before = kb()
    let garbage = Array.from({ length: 400 }, (_, i) => Array.from({ length: 10_000 }, (_, j) => i * j + 0.5))
    const full = kb()
    garbage = null
    trimMemory()
    console.log(full - before > 20_000, kb() - before < (full - before) / 2)`
  for (const flags of [['--expose-gc'], []]) {
    const done = spawnSync(process.execPath, [...flags, '--input-type=module', '-e', script], {
      encoding: 'utf8',
    })
    t.equal(done.status, 0, done.stderr)
    t.match(done.stdout, flags.length > 0 ? 'true true' : 'true', flags.join())
  }
})
