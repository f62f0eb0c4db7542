// SPDX-License-Identifier: Apache-2.0
// Program: a new connection for every request, as many as go through with a fixed number of clients. The addresses
// are several, so that no port is needed twice within the kernel's waiting time. The server closes.
import {
  type Block,
  type ByteStreamHandler,
  type CloseReason,
  HEADROOM_BYTES,
} from '../../mesh/reactor/byte-stream.ts'
import { Reactor } from '../../mesh/reactor/reactor.ts'
import { type ConnectHandler, openSocket } from '../../mesh/reactor/tcp-connect.ts'
import type { TcpSocket } from '../../mesh/reactor/tcp-socket.ts'
import { Histogram } from '../measure/histogram.ts'
import { answer, dial, programArguments, requestBlock, type Target } from './dial.ts'

/** Settings of a run. */
export interface ChurnOptions {
  readonly target: Target
  readonly clients: number
  /** The clients' addresses, used in turn. */
  readonly sources: readonly string[]
  readonly warmUpSeconds: number
  readonly seconds: number
}

/** What a run gives. */
export interface ChurnResult {
  readonly connections: number
  readonly perSecond: number
  readonly p50Micros: number
  readonly p99Micros: number
  readonly failures: number
  /** The first failure. */
  readonly failure: string
}

const REQUEST = requestBlock(false)
/** More failures than this and nothing is left to measure. */
const MAX_FAILURES = 1000

class Churn {
  readonly reactor: Reactor
  readonly options: ChurnOptions
  readonly #latencies = new Histogram()
  readonly #startMs = performance.now()
  #count = 0
  #failures = 0
  #failure = ''

  constructor(reactor: Reactor, options: ChurnOptions) {
    this.reactor = reactor
    this.options = options
    const endMs = (options.warmUpSeconds + options.seconds) * 1000
    reactor.startTimer(endMs, () => reactor.stop())
    for (let i = 0; i < options.clients; i++) this.startNext(i)
  }

  startNext(index: number): void {
    const { target, sources, clients } = this.options
    new OneRequest(this, index + clients, target, sources[index % sources.length] ?? '')
  }

  onDone(index: number, openedMs: number): void {
    const nowMs = performance.now()
    if (nowMs - this.#startMs >= this.options.warmUpSeconds * 1000) {
      this.#count++
      this.#latencies.record((nowMs - openedMs) * 1000)
    }
    this.startNext(index)
  }

  onFailed(index: number, reason: string): void {
    if (this.#failures === 0) this.#failure = reason
    if (++this.#failures >= MAX_FAILURES) this.reactor.stop()
    else this.startNext(index)
  }

  result(): ChurnResult {
    return {
      connections: this.#count,
      perSecond: this.#count / this.options.seconds,
      p50Micros: this.#latencies.quantile(0.5),
      p99Micros: this.#latencies.quantile(0.99),
      failures: this.#failures,
      failure: this.#failure,
    }
  }
}

class OneRequest implements ConnectHandler, ByteStreamHandler {
  readonly #churn: Churn
  readonly #next: number
  readonly #openedMs = performance.now()
  #socket: TcpSocket | null = null
  #isAnswered = false

  constructor(churn: Churn, next: number, target: Target, source: string) {
    this.#churn = churn
    this.#next = next
    dial(churn.reactor, target, source, this)
  }

  onConnected(fd: number): void {
    this.#socket = openSocket(this.#churn.reactor, fd, this)
    this.#socket.write(REQUEST, HEADROOM_BYTES, REQUEST.bytes.length)
  }

  onConnectFailed({ code, detail }: CloseReason): void {
    this.#churn.onFailed(this.#next, `${code} ${detail}`)
  }

  onData({ bytes }: Block, start: number, end: number): void {
    if (!this.#isAnswered)
      this.#isAnswered = bytes.toString('latin1', start, Math.min(start + 12, end)) === 'HTTP/1.1 200'
  }

  onEnd(): void {
    this.#socket?.end()
  }

  onDrain(): void {}

  onClose({ code, detail }: CloseReason): void {
    if (code === 'OK' && this.#isAnswered) this.#churn.onDone(this.#next, this.#openedMs)
    else this.#churn.onFailed(this.#next, code === 'OK' ? 'closed without an answer' : `${code} ${detail}`)
  }
}

if (import.meta.main) {
  const reactor = new Reactor()
  const churn = new Churn(reactor, programArguments<ChurnOptions>())
  reactor.run()
  answer(churn.result())
}
