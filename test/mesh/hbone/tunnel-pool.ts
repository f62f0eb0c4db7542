// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { type Refusal, refuse } from '../../../mesh/errors/refusal.ts'
import { TunnelPool, type TunnelPoolOptions } from '../../../mesh/hbone/tunnel-pool.ts'
import { TunnelServer } from '../../../mesh/hbone/tunnel-server.ts'
import type { ByteStream } from '../../../mesh/reactor/byte-stream.ts'
import { createMemoryPair, ManualScheduler, type MemoryStream } from '../../../mesh/reactor/memory-pair.ts'
import { Outcome, ServerSays, sharedResources } from '../../support/hbone-pair.ts'

interface PendingDial {
  readonly key: string
  readonly callback: (result: ByteStream | Refusal) => void
  isCancelled: boolean
}

/** A pool whose dials the test answers by hand, each with a server of its own. */
class Bench {
  readonly scheduler = new ManualScheduler()
  readonly resources = sharedResources(this.scheduler)
  readonly dials: PendingDial[] = []
  readonly servers: TunnelServer[] = []
  readonly says: ServerSays[] = []
  readonly transports: MemoryStream[] = []
  readonly pool: TunnelPool
  /** What the servers announce; null = their default. */
  serverStreams: number | null = null
  constructor(options: Partial<TunnelPoolOptions> = {}) {
    this.pool = new TunnelPool({
      resources: this.resources,
      dial: (key, callback) => {
        const dial = { key, callback, isCancelled: false }
        this.dials.push(dial)
        const cancel = () => {
          dial.isCancelled = true
        }
        return { cancel }
      },
      ...options,
    })
  }
  connect(key = 'k'): Outcome {
    const outcome = new Outcome()
    outcome.isInCall = true
    this.pool.connect(key, { authority: '10.0.0.7:80' }, outcome)
    outcome.isInCall = false
    return outcome
  }
  /** Answers the next unanswered dial. */
  answer(result?: Refusal): void {
    const dial = this.dials.shift()
    if (dial === undefined) throw new Error('nobody dials')
    if (result !== undefined) dial.callback(result)
    else {
      const [near, far] = createMemoryPair(this.scheduler)
      const says = new ServerSays()
      this.says.push(says)
      this.transports.push(near)
      const { resources, serverStreams } = this
      const limit = serverStreams === null ? {} : { maxStreams: serverStreams }
      this.servers.push(new TunnelServer({ transport: far, resources, handler: says, ...limit }))
      dial.callback(near)
    }
    this.scheduler.runUntilIdle()
  }
  finish(outcome: Outcome, server = 0): void {
    outcome.stream?.end()
    for (const { stream } of this.says[server]?.connects ?? []) stream.end()
    this.scheduler.runUntilIdle()
  }
}

t.test('first users share one dial, later ones its tunnel', async (t) => {
  const bench = new Bench()
  const first = [bench.connect(), bench.connect(), bench.connect()]
  bench.connect('other')
  t.same(
    bench.dials.map(({ key }) => key),
    ['k', 'other'],
  )
  t.match(bench.pool.statistics, { dialing: 2, waiting: 4, tunnels: 0 })
  bench.answer()
  t.ok(first.every((outcome) => outcome.stream !== null))
  const later = bench.connect()
  bench.scheduler.runUntilIdle()
  t.ok(later.stream)
  t.match(bench.pool.statistics, { dialing: 1, waiting: 1, tunnels: 1, streams: 4, dialCount: 2 })
})

t.test('a full tunnel causes another, up to what waits', async (t) => {
  const bench = new Bench({ maxStreamsPerConnection: 2 })
  const all = Array.from({ length: 5 }, () => bench.connect())
  bench.answer()
  t.equal(all.filter((outcome) => outcome.stream !== null).length, 2)
  bench.answer()
  bench.answer()
  t.ok(all.every((outcome) => outcome.stream !== null))
  t.match(bench.pool.statistics, { tunnels: 3, streams: 5, waiting: 0, dialing: 0 })
})

t.test('a limit of streams that a peer announces holds for its next tunnels at once', async (t) => {
  const bench = new Bench()
  bench.serverStreams = 2
  const all = Array.from({ length: 9 }, () => bench.connect())
  bench.answer()
  while (bench.dials.length > 0) bench.answer()
  t.same(
    all.map(({ refusal }) => refusal).filter((refusal) => refusal !== null),
    [],
  )
  t.match(bench.pool.statistics, { tunnels: 5, streams: 9, waiting: 0, dialing: 0 })
})

t.test('a peer that allows one stream or none costs a bounded number of tunnels', async (t) => {
  const one = new Bench()
  one.serverStreams = 1
  const all = Array.from({ length: 70 }, () => one.connect())
  while (one.dials.length > 0) one.answer()
  t.equal(all.filter(({ stream }) => stream !== null).length, 64)
  t.equal(all.filter(({ refusal }) => refusal?.code === 'LIMIT_POD').length, 6)
  const none = new Bench()
  none.serverStreams = 0
  const never = none.connect()
  for (let i = 0; i < 10 && none.dials.length > 0; i++) none.answer()
  t.match(never.refusal, { code: 'TUNNEL_REFUSED' })
  t.ok(none.pool.statistics.dialCount <= 2)
})

t.test('a failed dial refuses who waits, and at once who comes within the pause', async (t) => {
  const bench = new Bench()
  const waiting = [bench.connect(), bench.connect()]
  bench.answer(refuse('HBONE_PORT_BLOCKED', 'x'))
  t.ok(waiting.every((outcome) => outcome.refusal?.code === 'HBONE_PORT_BLOCKED'))
  const early = bench.connect()
  bench.scheduler.runUntilIdle()
  t.equal(early.refusal?.code, 'HBONE_PORT_BLOCKED')
  t.equal(bench.dials.length, 0)
  bench.scheduler.advance(50)
  bench.connect()
  t.equal(bench.dials.length, 1)
  bench.answer(refuse('HBONE_PORT_BLOCKED', 'x'))
  bench.scheduler.advance(50)
  bench.connect()
  t.equal(bench.dials.length, 0, 'the pause doubles')
  bench.scheduler.advance(50)
  const good = bench.connect()
  bench.answer()
  t.ok(good.stream)
  t.match(bench.pool.statistics, { dialFailureCount: 2, dialCount: 3 })
})

t.test('a connection that breaks before HTTP/2 was spoken counts as a failed dial', async (t) => {
  const bench = new Bench()
  const outcome = bench.connect()
  const dial = bench.dials.shift()
  const [near, far] = createMemoryPair(bench.scheduler)
  dial?.callback(near)
  far.setHandler({ onData() {}, onEnd() {}, onDrain() {}, onClose() {} })
  far.destroy({ code: 'TLS_HANDSHAKE', detail: '' })
  bench.scheduler.runUntilIdle()
  t.equal(outcome.refusal?.code, 'PEER_RESET')
  const next = bench.connect()
  bench.scheduler.runUntilIdle()
  t.equal(next.refusal?.code, 'PEER_RESET')
  t.equal(bench.dials.length, 0)
})

t.test('a peer that closes in order before HTTP/2 was spoken is a failed dial, too', async (t) => {
  const bench = new Bench()
  bench.pool.connect('k', { authority: 'a:1' }, new Outcome()).cancel()
  const [near, far] = createMemoryPair(bench.scheduler)
  bench.dials.shift()?.callback(near)
  far.setHandler({ onData() {}, onEnd() {}, onDrain() {}, onClose() {} })
  far.end()
  bench.scheduler.runUntilIdle()
  const next = bench.connect()
  bench.scheduler.runUntilIdle()
  t.equal(next.refusal?.code, 'TUNNEL_RESET')
})

t.test('waiting is bounded in number and time', async (t) => {
  const bench = new Bench({ maxWaitingPerKey: 2 })
  const [first, second, third] = [bench.connect(), bench.connect(), bench.connect()]
  bench.scheduler.runUntilIdle()
  t.equal(third.refusal?.code, 'LIMIT_POD')
  bench.scheduler.advance(12_000)
  t.equal(first.refusal?.code, 'CONNECT_TIMEOUT')
  t.equal(second.refusal?.code, 'CONNECT_TIMEOUT')
  t.match(bench.pool.statistics, { waiting: 0, dialing: 1 })
})

t.test('cancelling while waiting and while connecting reports nothing', async (t) => {
  const bench = new Bench()
  const outcome = new Outcome()
  const waiting = bench.pool.connect('k', { authority: 'a:1' }, outcome)
  waiting.cancel()
  t.match(bench.pool.statistics, { waiting: 0, dialing: 1 })
  bench.answer()
  const running = bench.pool.connect('k', { authority: 'a:1' }, outcome)
  running.cancel()
  running.cancel()
  bench.scheduler.advance(60_000)
  t.equal(outcome.isDecided, false)
  t.equal(bench.pool.statistics.streams, 0)
})

t.test('idle tunnels are released, used ones are not', async (t) => {
  const bench = new Bench()
  const outcome = bench.connect()
  bench.answer()
  bench.scheduler.advance(600_000)
  t.equal(bench.pool.statistics.tunnels, 1)
  bench.finish(outcome)
  bench.scheduler.advance(299_000)
  t.equal(bench.pool.statistics.tunnels, 1)
  bench.scheduler.advance(32_000)
  t.equal(bench.pool.statistics.tunnels, 0)
  t.equal(bench.says[0]?.reason?.code, 'OK')
  bench.scheduler.advance(120_000)
  t.equal(bench.scheduler.timerCount, 0, 'an empty pool has no timer')
})

t.test('a tunnel the peer drains is replaced; unprocessed connections move to the new one', async (t) => {
  const bench = new Bench()
  const old = bench.connect()
  bench.answer()
  bench.servers[0]?.drain()
  bench.scheduler.runUntilIdle()
  const next = bench.connect()
  t.equal(bench.dials.length, 1)
  bench.answer()
  t.ok(next.stream)
  t.ok(old.stream && !old.stream.isClosed, 'the old stream goes on')
  t.match(bench.pool.statistics, { tunnels: 2, streams: 2 })
})

t.test('a connection the peer did not look at is tried once more', async (t) => {
  const bench = new Bench()
  bench.connect()
  bench.answer()
  const says = bench.says[0]
  if (says === undefined) throw new Error('no server')
  let count = 0
  says.decide = (request) => {
    if (count++ === 0) request.stream.destroy({ code: 'OUT_OF_DESCRIPTORS', detail: '' })
    else request.accept('')
  }
  const outcome = bench.connect()
  bench.scheduler.runUntilIdle()
  t.equal(count, 2)
  t.ok(outcome.stream)
  says.decide = (request) => request.stream.destroy({ code: 'OUT_OF_DESCRIPTORS', detail: '' })
  const never = bench.connect()
  bench.scheduler.runUntilIdle()
  t.match(never.refusal, { code: 'TUNNEL_REFUSED', detail: 'refused_stream' })
})

t.test('retired keys get a new tunnel, streams of the old one finish', async (t) => {
  const bench = new Bench()
  const old = bench.connect()
  bench.answer()
  const kept = bench.connect('other')
  bench.answer()
  bench.pool.retire((key) => key === 'k')
  bench.scheduler.runUntilIdle()
  const next = bench.connect()
  t.same(
    bench.dials.map(({ key }) => key),
    ['k'],
  )
  bench.finish(old)
  bench.answer()
  t.ok(next.stream)
  t.ok(kept.stream && !kept.stream.isClosed)
  const again = bench.connect()
  bench.scheduler.runUntilIdle()
  t.ok(again.stream, 'the old entry did not take the new one along')
  t.equal(bench.dials.length, 0)
})

t.test('retiring during a dial dials again for those who wait', async (t) => {
  const bench = new Bench()
  const outcome = bench.connect()
  const stale = bench.dials.shift()
  bench.pool.retire(() => true)
  t.equal(stale?.isCancelled, true)
  const [near] = createMemoryPair(bench.scheduler)
  stale?.callback(near)
  t.equal(bench.pool.statistics.tunnels, 0, 'a late result is thrown away')
  bench.answer()
  t.ok(outcome.stream)
})

t.test(
  'drain lets streams finish, and who was accepted connect on tunnels that nobody uses later',
  async (t) => {
    const bench = new Bench()
    const running = bench.connect()
    bench.answer()
    const waiting = bench.connect('other')
    bench.pool.drain()
    t.equal(bench.pool.statistics.dialing, 1, 'the dial goes on')
    bench.answer()
    t.ok(waiting.stream && !waiting.stream.isClosed)
    const late = bench.connect('other')
    bench.answer()
    t.ok(late.stream, 'it was accepted before')
    t.equal(bench.pool.statistics.dialCount, 3, 'no tunnel is used again')
    t.ok(running.stream && !running.stream.isClosed)
    for (const [server, each] of [running, waiting, late].entries()) bench.finish(each, server)
    t.equal(bench.pool.statistics.tunnels, 0)
    bench.scheduler.advance(30_000)
    t.equal(bench.scheduler.timerCount, 0)
  },
)

t.test('closeAll ends everything with the reason', async (t) => {
  const bench = new Bench()
  const running = bench.connect()
  bench.answer()
  bench.pool.closeAll({ code: 'SHUTDOWN', detail: '' })
  bench.scheduler.runUntilIdle()
  t.equal(running.record.reason?.code, 'SHUTDOWN')
  t.equal(bench.pool.statistics.tunnels, 0)
})
