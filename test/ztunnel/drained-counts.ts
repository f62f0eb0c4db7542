// SPDX-License-Identifier: Apache-2.0
// Processes of one node as objects beside each other; who drains answers on a socket as its admin server would.
import { readdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import {
  CLOSED,
  type CounterLabels,
  CounterReader,
  createCounterMemory,
  TrafficCounters,
} from '../../mesh/telemetry/counters.ts'
import { DrainedCounts } from '../../ztunnel/drained-counts.ts'
import { socketDirectory } from '../support/socket-directory.ts'

const LABELS: CounterLabels = { text: 'x="1"', edge: null, pod: '' }
const log = pino({ level: 'silent' })

/** A data process that began at that time. */
class Process {
  readonly counts: DrainedCounts
  readonly #adminSocket: string
  readonly #reader = new CounterReader()
  readonly #counters: TrafficCounters
  #server: ReturnType<typeof createServer> | null = null

  constructor(adminSocket: string, startedMs: number, nowMs: () => number) {
    const memory = createCounterMemory()
    this.#adminSocket = adminSocket
    this.#counters = new TrafficCounters(memory, this.#reader.addWorker(memory))
    this.counts = new DrainedCounts({ adminSocket, counters: this.#reader, startedMs, nowMs, log })
  }

  count(amount: number): void {
    this.#counters.add(
      this.#counters.slotOf('x', () => LABELS),
      CLOSED,
      amount,
    )
  }

  async lead(): Promise<void> {
    this.counts.onLead()
    await this.counts.look()
  }

  /** What its metrics say. */
  async shown(): Promise<number> {
    await this.counts.look()
    return this.#reader.sums(CLOSED).get(LABELS.text) ?? 0
  }

  async drain(t: Test, name: string): Promise<void> {
    this.counts.onRetire()
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\n\r\n${JSON.stringify(this.counts.page())}`))
    })
    this.#server = server
    await new Promise<void>((resolve) => server.listen(`${this.#adminSocket}.drain-${name}`, resolve))
    t.teardown(() => server.close())
  }

  async end(): Promise<void> {
    await this.counts.keep()
    this.#server?.close()
  }
}

const filesOf = (admin: string): readonly string[] =>
  readdirSync(dirname(admin)).filter((name) => name.startsWith(`${basename(admin)}.counts-`))

t.test(
  'what is counted after the lead was left is shown by who leads, until and after the end',
  async (t) => {
    const admin = join(socketDirectory(t), 'a.sock')
    let nowMs = 0
    const [a, b, c] = [0, 100, 200].map((ms) => new Process(admin, ms, () => nowMs)) as [
      Process,
      Process,
      Process,
    ] // as: three
    await a.lead()
    a.count(1000)
    t.equal(await a.shown(), 1000)
    nowMs = 150
    await a.drain(t, 'a')
    await b.lead()
    t.equal(await b.shown(), 0, 'that was in the metrics before')
    a.count(1)
    b.count(10)
    t.equal(await b.shown(), 11)
    t.equal(await b.shown(), 11, 'once')

    nowMs = 250
    await b.drain(t, 'b')
    await c.lead()
    t.equal(await c.shown(), 0)
    a.count(2)
    b.count(20)
    t.equal(await c.shown(), 22)
    a.count(3)
    await a.end()
    t.equal(filesOf(admin).length, 1)
    t.equal(await c.shown(), 25, 'what was counted since it was asked')
    t.equal(filesOf(admin).length, 0)
    t.equal(await c.shown(), 25)
    b.count(30)
    await b.end()
    t.equal(await c.shown(), 55)
  },
)

t.test('one that leads again shows all of it, as before', async (t) => {
  const admin = join(socketDirectory(t), 'a.sock')
  const process = new Process(admin, 0, () => 1)
  await process.lead()
  process.count(5)
  process.counts.onRetire()
  await process.lead()
  process.count(5)
  t.equal(await process.shown(), 10)
})

t.test('one that never led has shown nothing: all that it counted is news', async (t) => {
  const admin = join(socketDirectory(t), 'a.sock')
  const [leader, late] = [new Process(admin, 0, () => 10), new Process(admin, 5, () => 10)]
  await leader.lead()
  late.count(7)
  await late.drain(t, 'late')
  t.equal(await leader.shown(), 7)
})

t.test('who was never followed leaves nothing, and files that say nothing are taken away', async (t) => {
  const admin = join(socketDirectory(t), 'a.sock')
  const process = new Process(admin, 0, () => 1)
  await process.lead()
  process.count(5)
  await process.end()
  t.same(filesOf(admin), [])
  writeFileSync(`${admin}.counts-broken`, '{')
  writeFileSync(`${admin}.counts-other`, '{"id": 1, "sets": []}')
  t.equal(await process.shown(), 5)
  t.same(filesOf(admin), [])
})

t.test('of too many label sets all are counted, the last ones together', async (t) => {
  const admin = join(socketDirectory(t), 'a.sock')
  const reader = new CounterReader()
  const memory = createCounterMemory()
  const counters = new TrafficCounters(memory, reader.addWorker(memory))
  const counts = new DrainedCounts({
    adminSocket: admin,
    counters: reader,
    startedMs: 0,
    nowMs: () => 1,
    log,
  })
  for (let index = 0; index < 2500; index++)
    counters.add(
      counters.slotOf(`${index}`, () => ({ text: `x="${index}"`, edge: null, pod: '' })),
      CLOSED,
      1,
    )
  const { sets } = counts.page()
  t.equal(sets.length, 2001)
  t.match(sets.at(-1), { labels: { text: 'overflow="true"' } })
  t.equal(
    sets.reduce((sum, { values }) => sum + (values[CLOSED] ?? 0), 0),
    2500,
  )
})
