// SPDX-License-Identifier: Apache-2.0
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import type { ConntrackReading } from '../../../mesh/generations/node-health.ts'
import {
  CONNTRACK_CHECK_MS,
  type ConntrackAlarm,
  ConntrackWatch,
  conntrackAlarm,
  nodeTable,
  parseConntrack,
  readConntrack,
  type WatchedTable,
} from '../../../ztunnel/supervisor/conntrack-watch.ts'
import { ManualClock } from '../../support/manual-clock.ts'

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

/** A node, and its pods by name; null: the table cannot be read. */
function openLab(t: Test) {
  const clock = new ManualClock()
  const logged: Readonly<Record<string, unknown>>[] = []
  const log = pino({}, { write: (line: string) => void logged.push(JSON.parse(line)) })
  const readings = new Map<string, ConntrackReading | null | Error>([['', null]])
  const tableOf = (pod: string): WatchedTable => ({
    ...{ uid: pod === '' ? '' : `u-${pod}`, namespace: pod === '' ? '' : 'shop', pod },
    read: () => {
      const reading = readings.get(pod) ?? null
      if (reading instanceof Error) throw reading
      return reading
    },
  })
  let onLook = (): void => {}
  const watch = new ConntrackWatch({
    tables: () => [...readings.keys()].map(tableOf),
    ...{ clock, log, onLook: () => onLook() },
  })
  t.teardown(() => watch.close())
  let isStarted = false
  /** Looks again at what these are now; gives what was logged. */
  const look = async (now: Readonly<Record<string, ConntrackReading | null | Error>>) => {
    readings.clear()
    for (const [pod, reading] of Object.entries(now)) readings.set(pod, reading)
    const known = logged.length
    await new Promise<void>((resolve) => {
      onLook = () => setImmediate(resolve)
      if (isStarted) clock.advance(CONNTRACK_CHECK_MS)
      else watch.start()
      isStarted = true
    })
    return logged.slice(known)
  }
  return { clock, watch, look }
}

t.test('a change of the node’s is told once, with what to do', async (t) => {
  const { clock, watch, look } = openLab(t)
  t.same(await look({ '': read(10) }), [])
  t.match(await look({ '': read(990) }), [
    { level: 50, reason: 'CONNTRACK_FULL', entryCount: 990, maxEntries: 1000, fix: /nf_conntrack_max/ },
  ])
  t.same(await look({ '': read(991) }), [])
  t.match(await look({ '': read(991, 7) }), [{ reason: 'CONNTRACK_FULL', lost: 7 }])
  t.same(watch.health(), { conntrack: read(991, 7), podConntrack: [] })
  t.match(await look({ '': read(5, 7) }), [{ level: 30 }])
  t.same(await look({ '': new MeshError('MISSING_CAPABILITY', { detail: 'setns' }) }), [])
  t.equal(watch.health().conntrack, null)
  watch.close()
  t.equal(clock.pendingCount, 0)
})

t.test(
  'a pod’s is told with its name; among the metrics are those in trouble, the fullest first',
  async (t) => {
    const { watch, look } = openLab(t)
    t.same(await look({ '': read(10), a: read(20), b: read(30), c: null }), [])
    t.same(watch.health().podConntrack, [])
    const told = await look({ '': read(10), a: read(960), b: read(30, 4), c: read(1000) })
    t.match(
      told.map(({ uid, pod, namespace, reason }) => ({ uid, pod, namespace, reason })),
      ['a', 'b', 'c'].map((pod) => ({ uid: `u-${pod}`, pod, namespace: 'shop', reason: 'CONNTRACK_FULL' })),
    )
    t.same(watch.health(), {
      conntrack: read(10),
      podConntrack: [
        { namespace: 'shop', pod: 'c', ...read(1000) },
        { namespace: 'shop', pod: 'a', ...read(960) },
        { namespace: 'shop', pod: 'b', ...read(30, 4) },
      ],
    })
    t.match(await look({ '': read(10), a: read(1), b: read(30, 4) }), [
      { level: 30, pod: 'a' },
      { level: 30, pod: 'b' },
    ])
    t.same(
      watch.health().podConntrack,
      [{ namespace: 'shop', pod: 'b', ...read(30, 4) }],
      'it has lost something',
    )
    const many = Object.fromEntries(
      Array.from({ length: 100 }, (_, index) => [`p${index}`, read(951 + (index % 40))]),
    )
    await look(many)
    const { podConntrack } = watch.health()
    t.equal(podConntrack.length, 64)
    t.equal(podConntrack[0]?.entryCount, 990)
  },
)

t.test('what is not a failure of the reading is not swallowed', async (t) => {
  t.throws(() => nodeTable('/nonexistent').read(), { code: 'NAMESPACE_GONE' })
})

t.test('the table of this process', async (t) => {
  const own = readConntrack()
  if (own !== null) t.ok(own.entryCount >= 0 && own.maxEntries >= 0 && own.lostCount >= 0)
  else t.pass('this kernel has none')
})
