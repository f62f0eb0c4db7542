// SPDX-License-Identifier: Apache-2.0
import { pino } from 'pino'
import t from 'tap'
import type { GrpcAnswer } from '../../../mesh/grpc/client.ts'
import type { Edge } from '../../../mesh/telemetry/edge.ts'
import { edgeKey } from '../../../mesh/telemetry/edge.ts'
import type { EdgeReport } from '../../../mesh/telemetry/edge-report.ts'
import { EdgeReporter } from '../../../ztunnel/edges/edge-reporter.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const TAKEN: GrpcAnswer = { kind: 'bytes', bytes: Buffer.alloc(0) }
const status = (code: number): GrpcAnswer => ({ kind: 'status', code, details: 'said the server' })

function edge(workload: string, opened: number): Edge {
  return {
    ...{ reporter: 'source', destination: null, service: '', isPlaintext: false, reason: 'OK' },
    source: { namespace: 'shop', workload, identity: '' },
    ...{ opened, failed: 0, receivedBytes: opened * 10, sentBytes: 0 },
  }
}

function openLab() {
  const clock = new ManualClock()
  const edges = new Map<string, Edge>()
  const reports: EdgeReport[] = []
  const lines: string[] = []
  const answers: (GrpcAnswer | null)[] = []
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) })
  const reporter = new EdgeReporter({
    ...{ clock, log, random: () => 0.5, edges: () => edges },
    send: async (report) => {
      reports.push(report)
      const answer = answers.shift()
      return answer === undefined ? TAKEN : answer
    },
  })
  reporter.start()
  /** Lets the next report be made, and answered. */
  const pass = async (): Promise<number> => {
    const delayMs = clock.nextDelayMs ?? Number.NaN
    clock.advance(delayMs)
    for (let turn = 0; turn < 5; turn++) await Promise.resolve()
    return delayMs
  }
  const count = (workload: string, opened: number): void => {
    const each = edge(workload, opened)
    edges.set(edgeKey(each), each)
  }
  return { reporter, clock, reports, lines, answers, pass, count }
}

t.test('what is new since the last report is told, once', async (t) => {
  const { reporter, clock, reports, pass, count } = openLab()
  await pass()
  t.same(reports, [], 'nothing to tell')
  count('front', 3)
  count('batch', 1)
  await pass()
  t.same(reports.pop(), { edges: [edge('front', 3), edge('batch', 1)], omitted: 0 })
  await pass()
  t.same(reports, [])
  count('front', 5)
  await pass()
  t.same(reports.pop()?.edges, [edge('front', 2)], 'what came since')
  await reporter.close()
  t.equal(clock.pendingCount, 0)
})

t.test('what was not taken comes again, with what came meanwhile', async (t) => {
  const { reports, answers, lines, pass, count } = openLab()
  answers.push(status(14), null, status(8))
  for (const opened of [1, 2, 3]) {
    count('front', opened)
    await pass()
    t.same(reports.pop()?.edges, [edge('front', opened)])
  }
  await pass()
  t.same(reports.pop()?.edges, [edge('front', 3)])
  t.equal(lines.length, 1, 'told when it is news')
  t.match(lines[0], /EDGES_UNREPORTED.*14 said the server/)
  await pass()
  t.same(reports, [])
})

t.test('a controller that takes no reports is asked once in an hour', async (t) => {
  const { answers, pass, count } = openLab()
  answers.push(status(12))
  count('front', 1)
  t.equal(await pass(), 10_000)
  t.equal(await pass(), 3_600_000)
  t.equal(await pass(), 10_000)
})

t.test('more edges than a report may have come one report after another', async (t) => {
  const { reports, pass, count } = openLab()
  for (let index = 0; index < 2500; index++) count(`w${index}`, 1)
  for (let round = 0; round < 3; round++) await pass()
  t.same(
    reports.map(({ edges, omitted }) => [edges.length, omitted]),
    [
      [1000, 1500],
      [1000, 500],
      [500, 0],
    ],
  )
  const names = new Set(reports.flatMap(({ edges }) => edges.map(({ source }) => source?.workload)))
  t.equal(names.size, 2500)
})

t.test('the end of the process tells the rest, and waits for it no longer than a second', async (t) => {
  const told = openLab()
  told.count('front', 3)
  await told.reporter.close()
  t.same(told.reports, [{ edges: [edge('front', 3)], omitted: 0 }])

  const failing = openLab()
  failing.count('front', 3)
  failing.answers.push(null)
  await failing.pass()
  t.equal(failing.reports.length, 1)
  await failing.reporter.close()
  t.equal(failing.reports.length, 1, 'nobody takes it')

  const clock = new ManualClock()
  const key = edgeKey(edge('front', 1))
  const reporter = new EdgeReporter({
    ...{ clock, random: () => 0.5, edges: () => new Map([[key, edge('front', 1)]]) },
    send: () => new Promise(() => {}), // never answered
    log: pino({ level: 'silent' }),
  })
  const closed = reporter.close()
  clock.advance(1000)
  await closed
})
