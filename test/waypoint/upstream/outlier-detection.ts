// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { EJECTION_MAX_MS } from '../../../waypoint/upstream/limits.ts'
import {
  type EndpointOutcome,
  httpStatusOf,
  OutlierDetection,
} from '../../../waypoint/upstream/outlier-detection.ts'
import { type OutlierSettings, upstreamSettings } from '../../../waypoint/upstream/upstream-settings.ts'
import { policy } from '../../support/upstream-lab.ts'

type Said = NonNullable<Parameters<typeof policy>[0]['outlier']>

function settings(said: Said = {}): OutlierSettings {
  const read = upstreamSettings(policy({ outlier: { maxEjectionPercent: 100, ...said } })).outlier
  if (read === null) throw new Error('no outlier detection')
  return read
}

const LOCAL: EndpointOutcome = { kind: 'local-failure' }
const status = (value: number): EndpointOutcome => ({ kind: 'status', status: value })

/** Statuses of `a`, of ten endpoints; `x` is a local failure. Returns which of them ejected it. */
function ejectedAt(said: Said, outcomes: string): number {
  const detection = new OutlierDetection(settings(said))
  const ejects = outcomes
    .split(' ')
    .map((text) => detection.note('a', text === 'x' ? LOCAL : status(Number(text)), 10, 0))
  return ejects.indexOf(true)
}

t.test('what ejects: so many in a row, of the kind that is counted', async (t) => {
  const cases: ReadonlyArray<readonly [Said, string, number]> = [
    [{}, '500 500 500 500 500', 4],
    [{}, '500 500 500 500 200 500 500 500 500', -1],
    [{}, '500 502 x 503 500', 4],
    [{}, '404 499 429 400 418 404', -1],
    [{ consecutive5xx: 2 }, '500 x', 1],
    [{ consecutive5xx: 0 }, '500 500 500 500 500 500 500', -1],
    [{ consecutive5xx: 0, consecutiveGatewayErrors: 2 }, '502 504', 1],
    [{ consecutive5xx: 0, consecutiveGatewayErrors: 2 }, 'x 503', 1],
    [{ consecutive5xx: 0, consecutiveGatewayErrors: 2 }, '502 500 504 505 503', -1],
    [{ consecutive5xx: 2, splitsLocalFailures: true }, 'x x x x', -1],
    [{ consecutive5xx: 2, splitsLocalFailures: true }, 'x x x x x', 4],
    [{ consecutive5xx: 3, splitsLocalFailures: true, consecutiveLocalFailures: 2 }, 'x 500 x 500 x', -1],
    [{ consecutive5xx: 3, splitsLocalFailures: true, consecutiveLocalFailures: 2 }, 'x 200 x x', 3],
    [{ consecutive5xx: 3, splitsLocalFailures: true, consecutiveLocalFailures: 0 }, 'x x x x x x', -1],
    [{ consecutive5xx: 2, consecutiveLocalFailures: 1 }, 'x', -1],
  ]
  for (const [said, outcomes, expected] of cases)
    t.equal(ejectedAt(said, outcomes), expected, `${JSON.stringify(said)} ${outcomes}`)
})

/** Ejects one at once. */
function eject(detection: OutlierDetection, key: string, count: number, nowMs: number): boolean {
  return detection.note(key, LOCAL, count, nowMs)
}

t.test('the time out grows with each ejection, has an end, and shrinks while all is well', async (t) => {
  const detection = new OutlierDetection(settings({ consecutive5xx: 1, baseEjection: { seconds: 60n } }))
  let nowMs = 0
  const times: number[] = []
  for (let round = 0; round < 7; round++) {
    t.ok(eject(detection, 'a', 3, nowMs))
    times.push((detection.ejectedUntilMs('a') ?? 0) - nowMs)
    t.same(detection.look(nowMs + (times.at(-1) ?? 0) - 1), [])
    t.ok(detection.isEjected('a'))
    nowMs += times.at(-1) ?? 0
    t.same(detection.look(nowMs), ['a'])
    t.notOk(detection.isEjected('a'))
  }
  t.same(times, [60_000, 120_000, 180_000, 240_000, EJECTION_MAX_MS, EJECTION_MAX_MS, EJECTION_MAX_MS])
  for (let look = 0; look < 5; look++) detection.look(nowMs)
  eject(detection, 'a', 3, nowMs)
  t.equal((detection.ejectedUntilMs('a') ?? 0) - nowMs, 180_000, 'seven less five, and one more')
  const long = new OutlierDetection(settings({ consecutive5xx: 1, baseEjection: { seconds: 900n } }))
  eject(long, 'a', 3, 0)
  t.equal(long.ejectedUntilMs('a'), 900_000, 'who asks for more than the limit gets it')
})

t.test('after it came back it starts anew', async (t) => {
  const detection = new OutlierDetection(settings({ consecutive5xx: 2 }))
  detection.note('a', LOCAL, 3, 0)
  t.ok(detection.note('a', LOCAL, 3, 0))
  t.notOk(detection.note('a', LOCAL, 3, 0), 'it is out already')
  detection.look(1_000_000)
  t.notOk(detection.note('a', LOCAL, 3, 1_000_000))
  t.ok(detection.note('a', LOCAL, 3, 1_000_000))
})

t.test('never more than the share, at least one, never the last', async (t) => {
  const out = (percent: number, count: number): number => {
    const detection = new OutlierDetection(settings({ consecutive5xx: 1, maxEjectionPercent: percent }))
    for (let i = 0; i < count; i++) eject(detection, `e${i}`, count, 0)
    return detection.ejectedCount
  }
  t.same(
    [10, 50, 100].map((percent) => out(percent, 10)),
    [1, 5, 9],
  )
  t.same(
    [0, 1, 100].map((percent) => out(percent, 2)),
    [0, 1, 1],
  )
  t.same(
    [10, 100].map((percent) => out(percent, 1)),
    [0, 0],
  )
})

t.test('nothing is remembered of those who never fail, or have long been well', async (t) => {
  const detection = new OutlierDetection(settings({ consecutive5xx: 2 }))
  detection.note('a', status(500), 3, 0)
  detection.note('a', status(200), 3, 0)
  t.equal(detection.needsLook, false)
  detection.note('a', status(500), 3, 0)
  detection.note('a', status(500), 3, 0)
  t.equal(detection.needsLook, true)
  detection.look(1_000_000)
  detection.look(1_000_000)
  t.equal(detection.needsLook, false)
})

t.test('other settings take over what is known', async (t) => {
  const before = new OutlierDetection(settings({ consecutive5xx: 1 }))
  eject(before, 'a', 3, 0)
  const after = new OutlierDetection(settings({ consecutive5xx: 9 }), before)
  t.ok(after.isEjected('a'))
  t.equal(after.ejectedCount, 1)
})

t.test('whatever happens there is somebody in use, and the books agree', async (t) => {
  const keys = ['a', 'b', 'c', 'd']
  const event = fc.oneof(
    fc.record({ what: fc.constant('fail' as const), at: fc.nat(3) }),
    fc.record({ what: fc.constant('ok' as const), at: fc.nat(3) }),
    fc.record({ what: fc.constant('look' as const), at: fc.nat(100) }),
    fc.record({ what: fc.constant('set' as const), at: fc.integer({ min: 1, max: 15 }) }),
  )
  let ejections = 0
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), fc.integer({ min: 0, max: 100 }), (events, percent) => {
      const detection = new OutlierDetection(settings({ consecutive5xx: 2, maxEjectionPercent: percent }))
      let present = [...keys]
      let nowMs = 0
      for (const { what, at } of events) {
        const key = present[at % present.length] ?? ''
        if (what === 'fail' && detection.note(key, LOCAL, present.length, nowMs)) ejections++
        if (what === 'ok') detection.note(key, status(200), present.length, nowMs)
        if (what === 'look') {
          nowMs += at * 1_000
          detection.look(nowMs)
        }
        if (what === 'set') {
          present = keys.filter((_, i) => at & (1 << i))
          detection.retain(new Set(present))
        }
        const out = present.filter((each) => detection.isEjected(each))
        if (out.length !== detection.ejectedCount || out.length >= present.length) return false
      }
      return true
    }),
    { numRuns: 1_000 },
  )
  // Sequences are random: how many of them eject is far above this, and not exactly known.
  t.ok(ejections > 20, `${ejections} ejections`)
})

t.test('what an answer of gRPC says of its endpoint', async (t) => {
  t.same(
    [0, 1, 4, 13, 14, 16, 17, 999].map((status) => httpStatusOf(200, status)),
    [...[200, 499, 504, 500, 503, 401, 500, 500]],
  )
  t.equal(httpStatusOf(200, null), 200)
  t.equal(httpStatusOf(503, 0), 503)
})
