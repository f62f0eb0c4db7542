// SPDX-License-Identifier: Apache-2.0
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { pino } from 'pino'
import t from 'tap'
import { LeaderDuties, type LeaderDuty, type LeaderElection, soleLeader } from '../../controller/leader.ts'

const log = pino({ level: 'silent' })

/** An election the test decides. */
class TestElection implements LeaderElection {
  fence: string | null = null
  isStopped = false
  #onChange: (fence: string | null) => void = () => {}

  start(onChange: (fence: string | null) => void): void {
    this.#onChange = onChange
  }

  async stop(): Promise<void> {
    this.isStopped = true
    this.elect(null)
  }

  elect(fence: string | null): void {
    this.fence = fence
    this.#onChange(fence)
  }
}

/** A duty that takes a while to end, and writes down whether two of it ever ran. */
class TestDuty implements LeaderDuty {
  readonly name = 'test'
  running = 0
  most = 0
  starts = 0
  fence: () => string | null = () => null
  fails = false

  start(fence: () => string | null): void {
    this.fence = fence
    this.starts++
    this.most = Math.max(this.most, ++this.running)
  }

  async stop(): Promise<void> {
    await setImmediate()
    this.running--
    if (this.fails) throw new Error('does not want to')
  }
}

async function settled(): Promise<void> {
  for (let turns = 0; turns < 20; turns++) await setImmediate()
}

t.test('duties run while we lead, one of each at a time, whatever the election does', async (t) => {
  const steps = fc.array(fc.tuple(fc.constantFrom('1', '2', '3', null), fc.boolean()), { maxLength: 30 })
  await fc.assert(
    fc.asyncProperty(steps, async (changes) => {
      const election = new TestElection()
      const duty = new TestDuty()
      const duties = new LeaderDuties(election, [duty], log)
      duties.start()
      for (const [fence, isSlow] of changes) {
        election.elect(fence)
        if (isSlow) await settled()
      }
      await settled()
      const isRight = duty.running === (election.fence === null ? 0 : 1) && duty.fence() === election.fence
      await duties.stop()
      return (isRight || changes.length === 0) && duty.most <= 1 && duty.running === 0
    }),
  )
  t.pass()
})

t.test('a duty of an earlier leadership never sees the token of a later one', async (t) => {
  const election = new TestElection()
  const duty = new TestDuty()
  const duties = new LeaderDuties(election, [duty], log)
  duties.start()
  election.elect('1')
  const early = duty.fence
  t.equal(early(), '1')
  election.elect('2')
  t.equal(early(), null)
  await settled()
  t.equal(duty.fence(), '2')
  await duties.stop()
  t.equal(duty.fence(), null)
})

t.test('what a duty says is asked for by its name', async (t) => {
  const talking: LeaderDuty = {
    name: 'talking',
    start: () => {},
    stop: async () => {},
    report: () => 'all is well',
  }
  const duties = new LeaderDuties(soleLeader(), [new TestDuty(), talking], log)
  t.equal(duties.report('talking'), 'all is well')
  t.equal(duties.report('test'), undefined, 'it says nothing')
  t.equal(duties.report('another'), undefined)
})

t.test(
  'a duty that does not end well keeps nobody from the next leadership, nor from stopping',
  async (t) => {
    const election = new TestElection()
    const [bad, good] = [new TestDuty(), new TestDuty()]
    bad.fails = true
    const duties = new LeaderDuties(election, [bad, good], log)
    duties.start()
    election.elect('1')
    election.elect(null)
    election.elect('2')
    await settled()
    t.equal(good.starts, 2)
    await duties.stop()
    t.equal(good.running, 0)
    t.equal(election.isStopped, true)
  },
)

t.test('who has no replicas leads from the start to the stop', async (t) => {
  const election = soleLeader()
  const told: (string | null)[] = []
  t.equal(election.fence, null)
  election.start((fence) => told.push(fence))
  t.equal(told.length, 1)
  t.equal(election.fence, told[0])
  t.ok(election.fence)
  await election.stop()
  t.equal(election.fence, null)
})
