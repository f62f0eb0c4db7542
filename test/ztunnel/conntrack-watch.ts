// SPDX-License-Identifier: Apache-2.0
import { pino } from 'pino'
import t from 'tap'
import {
  CONNTRACK_CHECK_MS,
  type ConntrackAlarm,
  type ConntrackReading,
  ConntrackWatch,
  conntrackAlarm,
  parseConntrack,
  readConntrack,
} from '../../ztunnel/conntrack-watch.ts'
import { ManualClock } from '../support/manual-clock.ts'

const NAMES =
  'entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new'
const row = (failed: string, drop: string, early: string): string =>
  `00000064  00000007 00000000 00000000 00000009 00000000 00000000 00000000 00000000 ${failed} ${drop} ${early} 00000003  00000000`
const read = (entryCount: number, lostCount = 0, maxEntries = 1000): ConntrackReading => ({
  ...{ entryCount, maxEntries, lostCount },
})

t.test('the kernel’s texts are read, by the names of their columns', async (t) => {
  const statistics = [
    NAMES,
    row('00000001', '00000010', '00000000'),
    row('00000000', '00000000', '000000ff'),
    '',
  ]
  t.same(parseConntrack('100\n', '1000\n', statistics.join('\n')), read(100, 1 + 16 + 255))
  t.same(parseConntrack('100\n', '1000\n', ''), read(100), 'a kernel that shows no statistics')
  t.same(
    parseConntrack('100\n', '1000\n', 'drop entries\n0000000a 00000064\n'),
    read(100, 10),
    'in another order',
  )
})

t.test('what is none is none', async (t) => {
  for (const [count, max] of [
    ['', ''],
    ['100', ''],
    ['x', '1000'],
    ['-1', '1000'],
    ['1e3', '1000'],
    ['1 2', '3'],
  ] as const)
    t.equal(parseConntrack(count, max, NAMES), null, `${count}|${max}`)
  t.same(parseConntrack('1', '2', `${NAMES}\ngarbage\n\n00000001`), read(1, 0, 2))
})

t.test('full from 95 %, losing as soon as more is lost than before', async (t) => {
  const cases: readonly (readonly [ConntrackReading, ConntrackReading | null, ConntrackAlarm])[] = [
    [read(0), null, 'none'],
    [read(949), null, 'none'],
    [read(950), null, 'full'],
    [read(1000), read(1000), 'full'],
    [read(10, 5), null, 'none'], // of long ago, for all we know
    [read(10, 5), read(10, 5), 'none'],
    [read(10, 6), read(10, 5), 'losing'],
    [read(1000, 6), read(1000, 5), 'losing'],
    [read(10, 2), read(10, 4_294_967_295), 'none'], // the kernel's number has wrapped
    [read(5000, 0, 0), null, 'none'], // without a limit
  ]
  for (const [now, before, expected] of cases)
    t.equal(conntrackAlarm(now, before), expected, JSON.stringify(now))
})

t.test('a change is told once, with what to do', async (t) => {
  const clock = new ManualClock()
  const logged: Readonly<Record<string, unknown>>[] = []
  const log = pino({}, { write: (line: string) => void logged.push(JSON.parse(line)) })
  const readings: (ConntrackReading | null | Error)[] = []
  const watch = new ConntrackWatch({
    read: async () => {
      const next = readings.shift() ?? null
      if (next instanceof Error) throw next
      return next
    },
    ...{ clock, log },
  })
  t.teardown(() => watch.close())
  const look = async (reading: ConntrackReading | null | Error): Promise<number> => {
    readings.push(reading)
    if (clock.pendingCount === 0) watch.start()
    else clock.advance(CONNTRACK_CHECK_MS)
    for (let turn = 0; turn < 5; turn++) await new Promise<void>((resolve) => setImmediate(resolve))
    return logged.length
  }
  t.equal(await look(read(10)), 0)
  t.equal(await look(read(990)), 1)
  t.match(logged[0], {
    level: 50,
    reason: 'CONNTRACK_FULL',
    entryCount: 990,
    maxEntries: 1000,
    fix: /nf_conntrack_max/,
  })
  t.equal(await look(read(991)), 1)
  t.equal(await look(read(991, 7)), 2)
  t.match(logged[1], { reason: 'CONNTRACK_FULL', lost: 7 })
  t.same(watch.reading, read(991, 7))
  t.equal(await look(read(5, 7)), 3)
  t.match(logged[2], { level: 30 })
  t.equal(await look(new Error('EACCES')), 3)
  t.equal(watch.reading, null)
  watch.close()
  t.equal(clock.pendingCount, 0)
})

t.test('the machine’s own table', async (t) => {
  const own = await readConntrack()
  if (own !== null) t.ok(own.entryCount >= 0 && own.maxEntries >= 0 && own.lostCount >= 0)
  else t.pass('this kernel has none')
})
