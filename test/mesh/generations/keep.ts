// SPDX-License-Identifier: Apache-2.0
// The script that is the first process of the container, under every shell that is here.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'

const KEEP = fileURLToPath(new URL('../../../mesh/generations/keep.sh', import.meta.url))
const SHELLS = ['/bin/dash', '/bin/bash'].filter(existsSync)

/** Runs `script` of a shell under the keeper. */
function keep(
  t: Test,
  shell: string,
  script: string,
  ...options: readonly string[]
): { readonly child: ChildProcess; readonly lines: string[] } {
  const child = spawn(shell, [KEEP, ...options, 'sh', '-c', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const lines: string[] = []
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    lines.push(...text.split('\n').filter((line) => line !== ''))
    child.emit('lines')
  })
  return { child, lines }
}

t.ok(SHELLS.length > 0)
for (const shell of SHELLS) {
  t.test(`${shell}: what is killed is started again`, async (t) => {
    const { child, lines } = keep(t, shell, 'echo $$; exec sleep 60')
    const pids: number[] = []
    while (pids.length < 3) {
      await once(child, 'lines')
      const pid = Number(lines.findLast((line) => /^\d+$/.test(line)))
      if (pids.includes(pid)) continue
      pids.push(pid)
      if (pids.length < 3) process.kill(pid, 'SIGKILL')
    }
    t.match(JSON.parse(lines.find((line) => line.startsWith('{')) ?? ''), {
      component: 'keeper',
      status: 137,
    })
    child.kill('SIGTERM')
    t.same(await once(child, 'close'), [143, null], 'a signal is handed on, and ends it')
  })

  t.test(`${shell}: the wish for an upgrade is handed on, and ends nothing`, async (t) => {
    const script = 'trap "echo upgrade" HUP; trap "exit 0" TERM; echo up; while :; do sleep 0.05; done'
    const { child, lines } = keep(t, shell, script)
    await once(child, 'lines')
    // What comes before the keeper knows its child is dropped: the child is new anyway.
    const wishes = setInterval(() => child.kill('SIGHUP'), 50)
    while (lines.length < 3) await once(child, 'lines')
    clearInterval(wishes)
    t.same(lines.slice(0, 3), ['up', 'upgrade', 'upgrade'])
    child.kill('SIGTERM')
    t.same(await once(child, 'close'), [0, null])
  })

  t.test(`${shell}: an end on purpose is the end`, async (t) => {
    for (const status of [0, 2]) {
      const { child, lines } = keep(t, shell, `echo once; exit ${status}`)
      t.same(await once(child, 'close'), [status, null])
      t.same(lines, ['once'])
    }
  })

  t.test(`${shell}: what always breaks is left to whoever runs the container`, async (t) => {
    const { child, lines } = keep(t, shell, 'echo again; exit 1')
    t.same(await once(child, 'close'), [1, null])
    t.equal(lines.filter((line) => line === 'again').length, 6)
  })

  t.test(`${shell}: who has lived for a while is forgiven what was before`, async (t) => {
    const count = join(t.testdir(), 'count')
    // The sixth is the last one that is started; it lives long enough, and five more are started.
    const script = `echo again; echo >>${count}; [ "$(wc -l <${count})" -ne 6 ] || sleep 2.1; exit 1`
    const { child, lines } = keep(t, shell, script, '--forgive', '2')
    t.same(await once(child, 'close'), [1, null])
    t.equal(lines.filter((line) => line === 'again').length, 11)
  })

  t.test(`${shell}: a child that takes its time at the end is waited for`, async (t) => {
    const { child, lines } = keep(
      t,
      shell,
      'trap "echo bye; exit 0" TERM; echo up; while :; do sleep 0.05; done',
    )
    await once(child, 'lines')
    child.kill('SIGTERM')
    t.same(await once(child, 'close'), [0, null])
    t.same(lines, ['up', 'bye'])
  })
}
