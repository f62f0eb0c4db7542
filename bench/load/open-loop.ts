// SPDX-License-Identifier: Apache-2.0
// Program: requests at a given rate, whatever the answers do. Arrivals are random (exponential gaps, the same for
// everybody) and scheduled ahead; a latency counts from the intended time, so that a proxy that stalls is charged
// for everyone who would have come meanwhile. Rate 0 is the closed loop: the most that goes through.
import { Reactor } from '../../mesh/reactor/reactor.ts'
import { Histogram } from '../measure/histogram.ts'
import { scheduleArrivals } from './arrivals.ts'
import { answer, programArguments, type Target } from './dial.ts'
import { type ConnectionOwner, KeepAliveConnection } from './keep-alive-connection.ts'
import { PreciseTimer } from './timerfd.ts'
import { ALONE, nextRoundMs, type Turn, timeInTurns } from './turn.ts'

/** Settings of a run. */
export interface OpenLoopOptions {
  readonly target: Target
  readonly connections: number
  /** Requests per second; 0: each connection asks again at once. */
  readonly rate: number
  readonly warmUpSeconds: number
  readonly seconds: number
  /** At a rate: when it asks; left out: always. All seconds are of its own turns. */
  readonly turn?: Turn
}

/** What a run gives. */
export interface OpenLoopResult {
  readonly perSecond: number
  /** Of the requests due in the measured time: how many were answered in time to count. */
  readonly answeredShare: number
  readonly p50Micros: number
  readonly p99Micros: number
  readonly p999Micros: number
  readonly maxMicros: number
  /** How late the generator itself sent, 99th percentile; includes waiting for a free connection. */
  readonly sentLateP99Micros: number
  readonly failure: string
}

/** How long answers may still come after the last arrival. */
const GRACE_MS = 2000
class OpenLoop implements ConnectionOwner {
  readonly #reactor: Reactor
  readonly #options: OpenLoopOptions
  readonly #turn: Turn
  readonly #arrivals: Float64Array
  readonly #timer: PreciseTimer
  readonly #latencies = new Histogram()
  readonly #lateness = new Histogram()
  readonly #free: KeepAliveConnection[] = []
  readonly #warmUpMs: number
  readonly #endMs: number
  #connected = 0
  #startMs = 0
  #next = 0
  #answered = 0
  #armedFor = -1
  #failure = ''

  constructor(reactor: Reactor, options: OpenLoopOptions) {
    this.#reactor = reactor
    this.#options = options
    this.#turn = options.turn ?? ALONE
    this.#warmUpMs = timeInTurns(options.warmUpSeconds * 1000, this.#turn)
    const seconds = options.warmUpSeconds + options.seconds
    this.#endMs = timeInTurns(seconds * 1000, this.#turn)
    this.#arrivals =
      options.rate === 0
        ? new Float64Array(0)
        : scheduleArrivals(options.rate, seconds).map((atMs) => timeInTurns(atMs, this.#turn))
    this.#timer = new PreciseTimer(reactor, () => {
      this.#armedFor = -1
      this.#sendDue()
    })
    for (let i = 0; i < options.connections; i++) new KeepAliveConnection(reactor, options.target, '', this)
  }

  onIdle(connection: KeepAliveConnection): void {
    if (this.#startMs === 0) this.#prepare(connection)
    else {
      this.#record(connection)
      if (this.#options.rate === 0) this.#send(connection, this.#nowMs())
      else {
        this.#free.push(connection)
        this.#sendDue()
      }
    }
  }

  onLost(_connection: KeepAliveConnection, reason: string): void {
    this.#failure = reason
    this.#reactor.stop()
  }

  result(): OpenLoopResult {
    const due = this.#arrivals.length - this.#arrivals.findIndex((atMs) => atMs >= this.#warmUpMs)
    return {
      perSecond: this.#answered / this.#options.seconds,
      answeredShare: this.#options.rate === 0 ? 1 : this.#latencies.count / due,
      p50Micros: this.#latencies.quantile(0.5),
      p99Micros: this.#latencies.quantile(0.99),
      p999Micros: this.#latencies.quantile(0.999),
      maxMicros: this.#latencies.maxMicros,
      sentLateP99Micros: this.#lateness.quantile(0.99),
      failure: this.#failure,
    }
  }

  /** Every connection asks once before the clock starts: tunnels stand, lengths are known. */
  #prepare(connection: KeepAliveConnection): void {
    if (connection.dueMs === 0) {
      connection.dueMs = 1
      connection.request()
      return
    }
    this.#free.push(connection)
    if (++this.#connected < this.#options.connections) return
    this.#startMs = nextRoundMs(this.#turn)
    this.#reactor.startTimer(this.#endMs - this.#nowMs() + GRACE_MS, () => this.#reactor.stop())
    if (this.#options.rate > 0) {
      this.#sendDue()
      return
    }
    for (const free of this.#free.splice(0)) this.#send(free, 0)
  }

  #nowMs(): number {
    return performance.now() - this.#startMs
  }

  #sendDue(): void {
    const nowMs = this.#nowMs()
    for (;;) {
      const dueMs = this.#arrivals[this.#next]
      if (dueMs === undefined) return
      if (dueMs > nowMs) {
        if (this.#armedFor !== this.#next) this.#timer.arm(dueMs - nowMs)
        this.#armedFor = this.#next
        return
      }
      const connection = this.#free.pop()
      if (connection === undefined) return // the next answer sends it
      this.#next++
      if (dueMs >= this.#warmUpMs) this.#lateness.record((nowMs - dueMs) * 1000)
      this.#send(connection, dueMs)
    }
  }

  #send(connection: KeepAliveConnection, dueMs: number): void {
    connection.dueMs = dueMs
    connection.request()
  }

  #record(connection: KeepAliveConnection): void {
    const nowMs = this.#nowMs()
    if (nowMs >= this.#warmUpMs && nowMs < this.#endMs) this.#answered++
    if (connection.dueMs >= this.#warmUpMs && connection.dueMs < this.#endMs) {
      this.#latencies.record((nowMs - connection.dueMs) * 1000)
    }
    const isDone = this.#options.rate === 0 ? nowMs >= this.#endMs : this.#isAllAnswered()
    if (isDone) this.#reactor.stop()
  }

  #isAllAnswered(): boolean {
    return this.#next === this.#arrivals.length && this.#free.length === this.#options.connections - 1
  }
}

if (import.meta.main) {
  const reactor = new Reactor()
  const loop = new OpenLoop(reactor, programArguments<OpenLoopOptions>())
  reactor.run()
  answer(loop.result())
}
