// SPDX-License-Identifier: Apache-2.0
import { closeSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { NamespaceSeeker } from '../../../../ztunnel/supervisor/enroll/namespace-seeker.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const uidOf = (digit: number): string => `${digit}0000000-0000-4000-8000-000000000000`

/** A seeker over a /proc of ours; what it finds, in its order. */
function openLab(t: Test) {
  const procPath = t.testdir({})
  const clock = new ManualClock()
  const found: string[] = []
  const wanted = new Set<string>()
  let next = Promise.withResolvers<void>()
  const seeker = new NamespaceSeeker(
    { procPath, clock, random: () => 0.5, log: pino({ level: 'silent' }) },
    {
      sought: () => [...wanted],
      isMissing: () => {
        // Asked at the end of each look.
        next.resolve()
        return wanted.size > 0
      },
      onFound: async (uid, fd) => {
        found.push(`${uid} ${readFileSync(fd, 'utf8')}`)
        wanted.delete(uid)
        closeSync(fd)
      },
    },
  )
  t.teardown(() => seeker.stop())
  const look = async (start: () => void): Promise<void> => {
    next = Promise.withResolvers()
    start()
    await next.promise
  }
  const run = (pid: number, uid: string): void => {
    mkdirSync(join(procPath, String(pid), 'ns'), { recursive: true })
    writeFileSync(join(procPath, String(pid), 'cgroup'), `0::/kubepods/pod${uid}/c\n`)
    writeFileSync(join(procPath, String(pid), 'ns', 'net'), `netns of ${pid}`)
  }
  return { seeker, clock, found, wanted, look, run }
}

t.test('a pod without a process is sought again, less and less often, until it is there', async (t) => {
  const { seeker, clock, found, wanted, look, run } = openLab(t)
  wanted.add(uidOf(1))
  await look(() => seeker.soon())
  const waits: (number | undefined)[] = []
  for (let looks = 0; looks < 8; looks++) {
    waits.push(clock.nextDelayMs)
    await look(() => clock.advance(clock.nextDelayMs ?? 0))
  }
  t.same(waits, [50, 100, 200, 400, 800, 1600, 2000, 2000])
  run(11, uidOf(1))
  await look(() => clock.advance(2000))
  t.same(found, [`${uidOf(1)} netns of 11`])
  t.equal(clock.pendingCount, 0, 'nothing is missing: nothing is sought')
})

t.test('news starts the waits again, and is sought in one look', async (t) => {
  const { seeker, clock, found, wanted, look, run } = openLab(t)
  wanted.add(uidOf(1)).add(uidOf(2))
  for (const pid of [1, 2]) run(10 + pid, uidOf(pid))
  wanted.add(uidOf(3))
  await look(() => {
    for (let news = 0; news < 5; news++) seeker.soon()
  })
  t.same(
    found.toSorted(),
    [1, 2].map((pid) => `${uidOf(pid)} netns of ${10 + pid}`),
  )
  await look(() => clock.advance(50))
  t.equal(clock.nextDelayMs, 100)
  await look(() => seeker.soon())
  t.equal(clock.nextDelayMs, 50)
})

t.test('one that is stopped hands nothing over any more', async (t) => {
  const { seeker, clock, found, wanted, run } = openLab(t)
  wanted.add(uidOf(1))
  run(11, uidOf(1))
  seeker.soon()
  seeker.stop()
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
  t.same(found, [])
  t.equal(clock.pendingCount, 0)
})

t.test('a /proc that cannot be seen has no namespaces, and is told once', async (t) => {
  const logged: string[] = []
  const log = pino({}, { write: (line: string) => void logged.push(line) })
  const handler = { sought: () => [], isMissing: () => false, onFound: async () => {} }
  const options = { procPath: '/nonexistent', clock: new ManualClock(), random: () => 0.5, log }
  const seeker = new NamespaceSeeker(options, handler)
  for (let looks = 0; looks < 3; looks++) t.same(await seeker.find([uidOf(1)]), new Map())
  t.equal(logged.length, 1)
  t.match(logged[0], /"reason":"POD_UNSEEN"/)
})
