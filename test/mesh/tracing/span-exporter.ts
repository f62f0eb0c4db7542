// SPDX-License-Identifier: Apache-2.0
// The queue, with a collector that does what the test says, at the time it says.
import t from 'tap'
import type { Log } from '../../../mesh/runtime/log.ts'
import type { PostOutcome, PostSpans } from '../../../mesh/tracing/post-spans.ts'
import { SpanExporter } from '../../../mesh/tracing/span-exporter.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const TAKEN: PostOutcome = { kind: 'taken', rejectedCount: 0 }
const FAILED: PostOutcome = { kind: 'failed', detail: 'dead' }
let spanNumber = 0
const span = (padding = ''): string =>
  JSON.stringify({
    ...{ time: '2026-01-02T03:04:05.006Z', reason: 'OK', direction: 'outbound', duration_ms: 1, padding },
    ...{ trace_id: 'a'.repeat(32), span_id: String(spanNumber++).padStart(16, '0') },
  })

/** An exporter whose posts wait for `answer`. */
function setUp() {
  const clock = new ManualClock()
  const posted: string[][] = []
  const waiting: ((outcome: PostOutcome) => void)[] = []
  const told: string[] = []
  const log = {
    warn: (_: unknown, text: string) => told.push(text),
    info: (_: unknown, text: string) => told.push(text),
  } as unknown as Log // as: all that is used of it
  const post: PostSpans = (body, signal) => {
    posted.push([...body.matchAll(/"span_id":"(\d+)"/g)].map(([, id]) => String(Number(id))))
    return new Promise((resolve) => {
      waiting.push(resolve)
      signal.addEventListener('abort', () => resolve({ kind: 'failed', detail: 'aborted' }))
    })
  }
  const document = (lines: readonly string[]): string => lines.join()
  const exporter = new SpanExporter({ post, document, clock, random: () => 0.5, log })
  const answer = async (outcome: PostOutcome): Promise<void> => {
    waiting.shift()?.(outcome)
    await new Promise((resolve) => setImmediate(resolve))
  }
  spanNumber = 0
  return { exporter, clock, posted, answer, told }
}

t.test('a few spans go together after a second, a full batch at once', async (t) => {
  const { exporter, clock, posted, answer } = setUp()
  exporter.add(span())
  exporter.add(span())
  clock.advance(999)
  t.same(posted, [])
  clock.advance(1)
  t.same(posted, [['0', '1']])
  await answer(TAKEN)
  for (let count = 0; count < 300; count++) exporter.add(span())
  t.equal(posted[1]?.length, 128)
  await answer({ kind: 'taken', rejectedCount: 6 })
  t.equal(posted[2]?.length, 128, 'the rest follows the answer')
  await answer(TAKEN)
  t.equal(posted[3]?.length, 44)
  await answer(TAKEN)
  t.same([exporter.sentCount, exporter.lostCount], [296, 6])
  exporter.add(span())
  clock.advance(1000)
  t.equal(posted.length, 5, 'and so on')
})

t.test('a batch that failed is sent again, before others; one that is refused is lost', async (t) => {
  const { exporter, clock, posted, answer, told } = setUp()
  exporter.add(span())
  clock.advance(1000)
  await answer(FAILED)
  exporter.add(span())
  t.equal(posted.length, 1)
  clock.advance(1000)
  t.same(posted[1], ['0', '1'])
  await answer(FAILED)
  clock.advance(1000)
  t.equal(posted.length, 2, 'it waits longer each time')
  clock.advance(1000)
  await answer({ kind: 'refused', detail: '400' })
  t.same([exporter.sentCount, exporter.lostCount], [0, 2])
  exporter.add(span())
  clock.advance(1000)
  t.same(posted[3], ['2'], 'what comes after it is sent')
  await answer(TAKEN)
  t.same([exporter.sentCount, exporter.lostCount], [1, 2])
  t.same(told, ['the collector does not take spans', 'the collector takes spans again'])
})

t.test('while a collector is dead the queue is bounded, and what finds no room is counted', async (t) => {
  const { exporter, clock, posted, answer } = setUp()
  exporter.add(span())
  clock.advance(1000)
  const line = span('x'.repeat(10_000))
  for (let count = 0; count < 1000; count++) exporter.add(line)
  const room = Math.floor((4_194_304 - 200) / line.length)
  t.ok(Math.abs(1000 - room - exporter.lostCount) <= 1, `${exporter.lostCount} lost`)
  const { lostCount } = exporter
  await answer(FAILED)
  clock.advance(1000)
  for (let index = 1; index < 5; index++) await answer(TAKEN)
  t.equal(exporter.sentCount + lostCount, 1001)
  t.equal(exporter.lostCount, lostCount)
  t.ok(posted.every((batch) => batch.length <= 128))
})

t.test('a flush sends at once, also what waits for another try, and does not wait for ever', async (t) => {
  const { exporter, clock, posted, answer } = setUp()
  exporter.add(span())
  clock.advance(1000)
  await answer(FAILED)
  const flushed = exporter.flush()
  t.equal(posted.length, 2)
  await answer(TAKEN)
  await flushed
  t.equal(exporter.sentCount, 1)
  await exporter.flush()
  t.equal(posted.length, 2, 'nothing was left')
  exporter.add(span())
  const stalled = exporter.flush()
  clock.advance(2000)
  await stalled
  t.equal(exporter.sentCount, 1)
})

t.test('the end: a last flush, then what is left is lost, and nothing goes on', async (t) => {
  const { exporter, clock, posted, answer } = setUp()
  exporter.add(span())
  const closed = exporter.close()
  await answer(TAKEN)
  await closed
  t.same([posted.length, exporter.sentCount, exporter.lostCount], [1, 1, 0])
  exporter.add(span())
  t.equal(exporter.lostCount, 1)
  t.equal(clock.pendingCount, 0)
  const other = setUp()
  other.exporter.add(span())
  const stalled = other.exporter.close()
  other.clock.advance(2000)
  await stalled
  t.same([other.exporter.sentCount, other.exporter.lostCount], [0, 1])
  t.equal(other.clock.pendingCount, 0)
})
