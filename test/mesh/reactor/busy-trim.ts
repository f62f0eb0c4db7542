// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process'
import t from 'tap'
import {
  BusyTrim,
  MAX_RELEASE_INTERVAL_MS,
  RELEASE_INTERVAL_MS,
  WORTH_BYTES,
} from '../../../mesh/reactor/busy-trim.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const LOOK_MS = 1000

/** Work for `seconds`; `grow` says what is resident before each look. Seconds in which memory was released. */
function releasesIn(
  seconds: number,
  grow: (second: number, resident: number) => number,
  kept: (resident: number) => number,
): number[] {
  const clock = new ManualClock()
  const released: number[] = []
  let resident = 0
  const trim = new BusyTrim(clock, {
    residentBytes: () => resident,
    release: () => {
      released.push(clock.passedMs / LOOK_MS)
      resident = kept(resident)
    },
  })
  for (let second = 0; second < seconds; second++) {
    resident = grow(second, resident)
    trim.onBusy()
    clock.advance(LOOK_MS)
  }
  return released
}

t.test('a process that cannot say what it has is left alone until it can', async (t) => {
  let bytes: number | null = null
  let released = 0
  const memory = { residentBytes: () => bytes, release: () => void released++ }
  const trim = new BusyTrim(new ManualClock(), memory)
  trim.onBusy()
  t.equal(released, 0)
  bytes = 1
  trim.onBusy()
  t.equal(released, 1)
})

t.test(
  'what stays away is released every few seconds, what comes back at once ever more seldom',
  async (t) => {
    const [least, most] = [RELEASE_INTERVAL_MS / LOOK_MS, MAX_RELEASE_INTERVAL_MS / LOOK_MS]
    const start = 100_000_000
    const worth = releasesIn(
      31,
      (second) => start + (second % 2) - second * WORTH_BYTES,
      (resident) => resident,
    )
    t.same(
      worth,
      [0, 1, 2, 3, 4, 5, 6].map((count) => count * least),
    )
    const vain = releasesIn(
      most * 5,
      () => start,
      () => start - 20_000_000,
    )
    t.same(vain.slice(0, 5), [0, least, least * 3, least * 3 + most, least * 3 + most * 2])
  },
)

t.test('growth beyond what was there is not waited out', async (t) => {
  const most = MAX_RELEASE_INTERVAL_MS / LOOK_MS
  const grownAt = most * 3 + 1
  const released = releasesIn(
    most * 4,
    (second) => (second < grownAt ? 100_000_000 : 100_000_000 + WORTH_BYTES),
    (resident) => resident,
  )
  const soon = released.find((second) => second >= grownAt) ?? Number.NaN
  t.ok(soon - grownAt < RELEASE_INTERVAL_MS / LOOK_MS, `grown at ${grownAt}, released at ${soon}`)
})

t.test('free memory of malloc and pages of files go back, and garbage is left alone', async (t) => {
  const script = `
    const { readFileSync } = await import('node:fs')
    const { BusyTrim } = await import('./mesh/reactor/busy-trim.ts')
    const { systemClock } = await import('./mesh/runtime/clock.ts')
    const { bindFunction, openLibrary } = await import('./mesh/reactor/ffi/native.ts')
    const libc = openLibrary('libc.so.6')
    const malloc = bindFunction(libc, 'uintptr_t malloc(uint64_t)')
    const memset = bindFunction(libc, 'uintptr_t memset(uintptr_t, int, uint64_t)')
    const free = bindFunction(libc, 'void free(uintptr_t)')
    const status = (name) =>
      Number(new RegExp(name + ':\\\\s+(\\\\d+)', 'm').exec(readFileSync('/proc/self/status', 'latin1'))[1])
    // Every hundredth block stays: what is free lies between them, where malloc itself never looks again.
    const blocks = Array.from({ length: 20_000 }, () => memset(malloc(4_000), 1, 4_000))
    for (const [index, block] of blocks.entries()) if (index % 100 !== 0) free(block)
    const before = [status('RssAnon'), status('RssFile')]
    new BusyTrim(systemClock).onBusy()
    console.log(before[0] - status('RssAnon') > 40_000, before[1] - status('RssFile') > 2_000)`
  const done = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
  t.equal(done.status, 0, done.stderr)
  t.match(done.stdout, 'true true')
})
