// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  COMPANY_TURN_SHARE_BYTES,
  MAX_HANDSHAKE_STEPS,
  type ShareMember,
  TURN_SHARE_BYTES,
  type TurnShare,
  TurnShares,
  type TurnSource,
} from '../../../mesh/reactor/turn-share.ts'

/** Turns without a reactor. */
class Turns implements TurnSource {
  turnCount = 1
  nowMs = 0
  #callbacks: Array<() => void> = []
  inNextTurn(callback: () => void): void {
    this.#callbacks.push(callback)
  }
  get isIdle(): boolean {
    return this.#callbacks.length === 0
  }
  /** As the reactor: events first, then what was put off. */
  next(dispatch: () => void = () => {}): void {
    this.turnCount++
    dispatch()
    const callbacks = this.#callbacks
    this.#callbacks = []
    for (const callback of callbacks) callback()
  }
}

/** Has always something to read, and reads it in blocks. */
class Reader implements ShareMember {
  isInLine = false
  nextInLine: ShareMember | null = null
  readBytes = 0
  isClosed = false
  readonly #share: TurnShare
  readonly #blockBytes: number
  constructor(share: TurnShare, blockBytes: number) {
    this.#share = share
    this.#blockBytes = blockBytes
  }
  /** As a socket at a readiness event. */
  onReady(): void {
    if (this.#share.mayRead(this)) this.runInTurn()
  }
  runInTurn(): boolean {
    if (this.isClosed) return false
    this.readBytes += this.#blockBytes
    this.#share.spend(this.#blockBytes)
    return true
  }
}

/** A handshake of two steps. */
class Handshake implements ShareMember {
  isInLine = false
  nextInLine: ShareMember | null = null
  steps = 0
  isClosed = false
  readonly #share: TurnShare
  readonly #order: Handshake[]
  constructor(share: TurnShare, order: Handshake[]) {
    this.#share = share
    this.#order = order
  }
  onReady(): void {
    if (this.#share.mayHandshake(this)) this.runInTurn()
  }
  runInTurn(): boolean {
    if (this.isClosed) return false
    this.steps++
    this.#order.push(this)
    return true
  }
}

const sum = (readers: readonly Reader[]): number => readers.reduce((all, each) => all + each.readBytes, 0)

t.test(
  'however many sockets a workload has and however they read, no turn gives it more than its share',
  async () => {
    const workload = fc.record({
      sockets: fc.integer({ min: 1, max: 40 }),
      blockBytes: fc.integer({ min: 1000, max: 262_144 }),
    })
    fc.assert(
      fc.property(
        fc.array(workload, { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 1, max: 30 }),
        (plans, rounds) => {
          const turns = new Turns()
          const shares = new TurnShares(turns)
          const all = plans.map(({ sockets, blockBytes }) => {
            const share = shares.open()
            return Array.from({ length: sockets }, () => new Reader(share, blockBytes))
          })
          for (let round = 0; round < rounds; round++) {
            turns.next(() => {
              for (const readers of all) for (const each of readers) each.onReady()
            })
          }
          for (const [index, readers] of all.entries()) {
            const blockBytes = plans[index]?.blockBytes ?? 0
            if (sum(readers) > rounds * TURN_SHARE_BYTES + blockBytes) return false
            const counts = readers.map(({ readBytes }) => readBytes / blockBytes)
            // Who was left out is first in the next turn: none gets less than half of what another gets.
            if (Math.max(...counts) > 2 * Math.min(...counts) + 1) return false
          }
          return true
        },
      ),
      { numRuns: 200 },
    )
  },
)

t.test('a workload that moves little never waits for one that moves much', async (t) => {
  const turns = new Turns()
  const shares = new TurnShares(turns)
  const [bulk, small] = [shares.open(), shares.open()]
  const flood = Array.from({ length: 100 }, () => new Reader(bulk, 262_144))
  const request = new Reader(small, 100)
  for (let round = 0; round < 20; round++) {
    turns.next(() => {
      for (const each of flood) each.onReady()
      request.onReady()
      t.equal(request.readBytes, 100 * (round + 1), 'in the very turn in which it came')
    })
  }
  t.ok(sum(flood) <= 20 * TURN_SHARE_BYTES)
})

t.test(
  'turns are long for one workload, short while another one reads too, and long again later',
  async (t) => {
    const turns = new Turns()
    const shares = new TurnShares(turns)
    const [bulk, small] = [shares.open(), shares.open()]
    const flood = Array.from({ length: 20 }, () => new Reader(bulk, 65_536))
    const request = new Reader(small, 100)
    const bytesOfTurn = (others: () => void = () => {}): number => {
      const before = sum(flood)
      turns.next(() => {
        others()
        for (const each of flood) each.onReady()
      })
      return sum(flood) - before
    }
    t.equal(bytesOfTurn(), TURN_SHARE_BYTES)
    t.equal(bytesOfTurn(), TURN_SHARE_BYTES)
    t.equal(
      bytesOfTurn(() => request.onReady()),
      COMPANY_TURN_SHARE_BYTES,
    )
    turns.nowMs = 900
    t.equal(bytesOfTurn(), COMPANY_TURN_SHARE_BYTES, 'the other one may come again at any time')
    turns.nowMs = 1900
    t.equal(bytesOfTurn(), TURN_SHARE_BYTES)
  },
)

t.test('a turn has what its limits say, and never less alone than in company', async (t) => {
  for (const companyBytes of [65_536, 4 * TURN_SHARE_BYTES]) {
    const turns = new Turns()
    const shares = new TurnShares(turns, { companyBytes, handshakeSteps: 5 })
    const [bulk, small, storm] = [shares.open(), shares.open(), shares.open()]
    const flood = Array.from({ length: 200 }, () => new Reader(bulk, 65_536))
    const request = new Reader(small, 100)
    turns.next(() => {
      for (const each of flood) each.onReady()
    })
    t.equal(sum(flood), Math.max(companyBytes, TURN_SHARE_BYTES))
    turns.next(() => request.onReady())
    const before = sum(flood)
    turns.next(() => request.onReady())
    t.equal(sum(flood) - before, companyBytes)
    const order: Handshake[] = []
    const many = Array.from({ length: 10 }, () => new Handshake(storm, order))
    for (const each of many) each.onReady()
    t.equal(order.length, 5)
  }
})

t.test('who waits and is closed meanwhile costs nothing, and nobody waits for ever', async (t) => {
  const turns = new Turns()
  const share = new TurnShares(turns).open()
  const readers = Array.from({ length: 50 }, () => new Reader(share, TURN_SHARE_BYTES))
  for (const each of readers) each.onReady()
  for (const each of readers.slice(1, 49)) each.isClosed = true
  t.equal(readers[49]?.isInLine, true)
  turns.next()
  t.equal(readers[49]?.readBytes, TURN_SHARE_BYTES, 'all that left are skipped at once')
  t.equal(readers[49]?.isInLine, false)
  t.ok(turns.isIdle, 'nothing spins')
})

t.test(
  'handshakes: so many steps in a turn, one workload after the other, whoever has more in line',
  async (t) => {
    const turns = new Turns()
    const shares = new TurnShares(turns)
    const order: Handshake[] = []
    const [storm, calm] = [shares.open(), shares.open()]
    const many = Array.from({ length: 100 }, () => new Handshake(storm, order))
    for (const each of many) each.onReady()
    t.equal(order.length, MAX_HANDSHAKE_STEPS, 'nobody waits while there is room')
    const one = new Handshake(calm, order)
    one.onReady()
    t.equal(one.steps, 0)
    turns.next()
    t.equal(order.length, 2 * MAX_HANDSHAKE_STEPS)
    t.equal(one.steps, 1, 'it waited for a turn, not for a hundred handshakes')
    one.onReady()
    t.equal(one.isInLine, true)
    const late = new Handshake(shares.open(), [])
    turns.next(() => {
      late.onReady()
      t.equal(late.steps, 0, 'nobody passes those in line')
      late.isClosed = true
    })
    t.equal(one.steps, 2)
    for (const each of many) each.isClosed = true
    turns.next()
    t.ok(turns.isIdle, 'handshakes that ended meanwhile are no steps')
    t.equal(order.length, 3 * MAX_HANDSHAKE_STEPS)
  },
)
