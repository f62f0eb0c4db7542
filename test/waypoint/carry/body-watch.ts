// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { ManualScheduler } from '../../../mesh/reactor/memory-pair.ts'
import { type BodyLook, BodyWatch, type WatchedConnection } from '../../../waypoint/carry/body-watch.ts'
import { RequestBody } from '../../../waypoint/carry/request-body.ts'

const TIMEOUT_MS = 300_000

/** A connection with one request whose body comes or does not. */
class Connection implements WatchedConnection {
  memberIndex = -1
  readonly body = new RequestBody()
  bytes = 0
  isHeldUp = false
  looks = 0
  hasStalled = false
  giveUpStalled(look: BodyLook): void {
    this.looks++
    if (this.body.hasStalled(this.bytes, this.isHeldUp, look)) this.hasStalled = true
  }
}

t.test('a body of which nothing comes is found, between one limit and one and two tenths', async (t) => {
  for (const lateMs of [0, 1, 15_000, 29_999]) {
    const scheduler = new ManualScheduler()
    const watch = new BodyWatch(scheduler, TIMEOUT_MS)
    const early = new Connection()
    watch.add(early)
    scheduler.advance(lateMs)
    const connection = new Connection()
    watch.add(connection)
    scheduler.advance(TIMEOUT_MS - 1)
    t.notOk(connection.hasStalled, `${lateMs} ms after another`)
    scheduler.advance(TIMEOUT_MS / 5 + 1)
    t.ok(connection.hasStalled)
  }
})

t.test('what comes now and then is waited for', async (t) => {
  const scheduler = new ManualScheduler()
  const watch = new BodyWatch(scheduler, TIMEOUT_MS)
  const connection = new Connection()
  watch.add(connection)
  for (let round = 0; round < 20; round++) {
    scheduler.advance(TIMEOUT_MS - 1)
    t.notOk(connection.hasStalled)
    connection.bytes++
  }
  scheduler.advance(2 * TIMEOUT_MS)
  t.ok(connection.hasStalled)
})

t.test('time that the service takes is not the caller’s', async (t) => {
  const scheduler = new ManualScheduler()
  const watch = new BodyWatch(scheduler, TIMEOUT_MS)
  const connection = new Connection()
  watch.add(connection)
  scheduler.advance(TIMEOUT_MS - 1)
  connection.isHeldUp = true
  scheduler.advance(20 * TIMEOUT_MS)
  connection.isHeldUp = false
  scheduler.advance(TIMEOUT_MS - 1)
  t.notOk(connection.hasStalled, 'it has the whole limit from then on')
  scheduler.advance(TIMEOUT_MS)
  t.ok(connection.hasStalled)
})

t.test('one that has ended is nobody’s to wait for', async (t) => {
  const scheduler = new ManualScheduler()
  const watch = new BodyWatch(scheduler, TIMEOUT_MS)
  const connection = new Connection()
  watch.add(connection)
  connection.body.end(null, null)
  scheduler.advance(20 * TIMEOUT_MS)
  t.ok(connection.looks > 100)
  t.notOk(connection.hasStalled)
})

t.test('one timer for all, none without connections, and none without a limit', async (t) => {
  const scheduler = new ManualScheduler()
  const watch = new BodyWatch(scheduler, TIMEOUT_MS)
  const connections = Array.from({ length: 100 }, () => new Connection())
  for (const each of connections) watch.add(each)
  t.equal(scheduler.timerCount, 1)
  scheduler.advance(TIMEOUT_MS)
  t.ok(connections.every(({ looks }) => looks === 10))
  for (const each of connections) watch.delete(each)
  scheduler.advance(TIMEOUT_MS)
  t.ok(connections.every(({ looks }) => looks === 10))
  t.equal(scheduler.timerCount, 0)
  const [again] = connections
  if (again !== undefined) watch.add(again)
  scheduler.advance(TIMEOUT_MS)
  t.equal(again?.looks, 20)
  watch.close()
  t.equal(scheduler.timerCount, 0)
  new BodyWatch(scheduler, 0).add(new Connection())
  t.equal(scheduler.timerCount, 0)
})

t.test('a look may end connections, and others are looked at all the same', async (t) => {
  const scheduler = new ManualScheduler()
  const watch = new BodyWatch(scheduler, TIMEOUT_MS)
  const seen: string[] = []
  const ending = (name: string): WatchedConnection => {
    const connection: WatchedConnection = {
      memberIndex: -1,
      giveUpStalled: () => {
        seen.push(name)
        watch.delete(connection)
      },
    }
    return connection
  }
  for (const name of ['a', 'b', 'c']) watch.add(ending(name))
  scheduler.advance(TIMEOUT_MS)
  t.strictSame(seen, ['a', 'b', 'c'])
})
