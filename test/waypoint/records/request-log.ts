// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { ENTRY_KINDS } from '../../../mesh/telemetry/record-ring.ts'
import { AccessFormat } from '../../../waypoint/records/access-format.ts'
import { RequestLog } from '../../../waypoint/records/request-log.ts'
import type { TargetTelemetry } from '../../../waypoint/records/target-telemetry.ts'
import { Tracer } from '../../../waypoint/tracing/request-trace.ts'
import { loggedRequest, loggedSource } from '../../support/logged.ts'

const ALL = { path: '', status: '', source: '', reason: '' }

/** A log whose lines are kept, and how many of them are no records. */
function setUp(format: AccessFormat | 'json' | 'off') {
  const lines: string[] = []
  const asides = new Set<string>()
  const push = (line: string, kind?: number): boolean => {
    if (kind === ENTRY_KINDS.aside) asides.add(line)
    return lines.push(line) > 0
  }
  const log = new RequestLog({ push }, format, 0)
  const taken = (): string[] => lines.splice(0)
  return { log, taken, asides }
}

t.test('a request is one line, in the form that was asked for', async (t) => {
  const format = AccessFormat.parse('%RESPONSE_CODE%')
  if (typeof format === 'string') throw new Error(format)
  for (const [form, expected] of [
    [format, [/^200$/]],
    ['json', [/^\{"time":.*\}$/]],
    ['off', []],
  ] as const) {
    const { log, taken } = setUp(form)
    log.ended(loggedSource(), loggedRequest(), null)
    const lines = taken()
    t.equal(lines.length, expected.length)
    for (const [index, each] of expected.entries()) t.match(lines[index], each)
  }
})

t.test('a service may be left out of the log', async (t) => {
  const { log, taken } = setUp('json')
  const telemetry: Pick<TargetTelemetry, 'isLogged' | 'tags'> = {
    isLogged: ({ status }) => status >= 400,
    tags: [],
  }
  log.ended(loggedSource(), loggedRequest(), telemetry)
  log.ended(loggedSource(), loggedRequest({ status: 404 }), telemetry)
  t.equal(taken().length, 1)
})

t.test('what a tap wants is told beside the log, also where there is none', async (t) => {
  const { log, taken, asides } = setUp('off')
  log.tap([
    { ...ALL, path: '/x' },
    { ...ALL, status: '404' },
  ])
  log.ended(loggedSource(), loggedRequest(), null)
  t.same(taken(), [])
  log.ended(loggedSource(), loggedRequest({ status: 404 }), null)
  const [line = ''] = taken()
  t.ok(asides.has(line) && line.startsWith('\u0002'))
  t.match(JSON.parse(line.slice(1)), { status: 404, path: '/items' })
  log.tap([])
  log.ended(loggedSource(), loggedRequest({ status: 404 }), null)
  t.same(taken(), [])
})

t.test('a tap is told of so many in a second, and of how many it was not told', async (t) => {
  const { log, taken } = setUp('off')
  log.tap([ALL])
  const { endedMs } = loggedRequest()
  for (let count = 0; count < 1500; count++) log.ended(loggedSource(), loggedRequest(), null)
  const told = taken().length
  t.ok(told >= 1000 && told < 1100, `${told}`)
  log.ended(loggedSource(), loggedRequest({ endedMs: endedMs + 1000 }), null)
  const [lost, line] = taken()
  t.equal(lost, `\u0003${1500 - told}`)
  t.ok(line?.startsWith('\u0002'))
})

t.test('a sampled request leaves its spans, others none', async (t) => {
  const { log, taken, asides } = setUp('off')
  const sampled = new Tracer(1_000_000).begin([], null)
  sampled.begin([], 0)
  log.ended(loggedSource(), loggedRequest({ trace: sampled }), null)
  log.ended(loggedSource(), loggedRequest({ trace: new Tracer(0).begin([], null) }), null)
  const lines = taken()
  t.equal(lines.length, 2)
  for (const line of lines) {
    t.ok(asides.has(line) && line.startsWith('\u0001'))
    t.match(JSON.parse(line.slice(1)), { traceId: sampled.traceId })
  }
})
