// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process'
import t from 'tap'
import { systemClock } from '../../../mesh/runtime/clock.ts'
import { ManualClock } from '../../support/manual-clock.ts'

t.test('the system clock tells the time and fires once', async (t) => {
  t.ok(Math.abs(systemClock.nowMs - Date.now()) < 1000)
  const keepAlive = setInterval(() => {}, 1000)
  await new Promise<void>((resolve) => systemClock.startTimer(1, resolve))
  clearInterval(keepAlive)
  t.pass('fired')
})

t.test('what has passed does not step with the time of day', async (t) => {
  const before = systemClock.passedMs
  t.ok(Math.abs(before - performance.now()) < 1000)
  t.ok(systemClock.passedMs >= before)
  const clock = new ManualClock()
  clock.jump(-3_600_000)
  t.equal(clock.passedMs, 0)
})

t.test('a delay beyond 31 bits does not fire at once, and a cancelled timer never', async (t) => {
  const fired: string[] = []
  const long = systemClock.startTimer(3e9, () => fired.push('long'))
  systemClock.startTimer(0, () => fired.push('cancelled')).cancel()
  const keepAlive = setInterval(() => {}, 1000)
  await new Promise<void>((resolve) => systemClock.startTimer(5, resolve))
  clearInterval(keepAlive)
  long.cancel()
  t.same(fired, [])
})

t.test('a process that only waits ends, but for a timer that keeps it alive', async (t) => {
  const { href } = new URL('../../../mesh/runtime/clock.ts', import.meta.url)
  for (const keepsAlive of [false, true]) {
    const text = `import { systemClock } from '${href}'
      systemClock.startTimer(20, () => console.log('fired'), ${keepsAlive})`
    const options = { encoding: 'utf8' } as const
    const { status, stdout } = spawnSync(
      process.execPath,
      ['--no-warnings', '--input-type=module-typescript', '--eval', text],
      options,
    )
    t.same([status, stdout], [0, keepsAlive ? 'fired\n' : ''])
  }
})

t.test('the manual clock fires in order, also what is started on the way', async (t) => {
  const clock = new ManualClock(0)
  const fired: string[] = []
  clock.startTimer(20, () => fired.push(`b@${clock.nowMs}`))
  clock.startTimer(10, () => {
    fired.push(`a@${clock.nowMs}`)
    clock.startTimer(5, () => fired.push(`c@${clock.nowMs}`))
  })
  clock.startTimer(20, () => fired.push('no')).cancel()
  t.equal(clock.nextDelayMs, 10)
  clock.advance(19)
  t.same(fired, ['a@10', 'c@15'])
  clock.advance(1)
  t.same(fired, ['a@10', 'c@15', 'b@20'])
  t.equal(clock.pendingCount, 0)
})
