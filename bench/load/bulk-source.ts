// SPDX-License-Identifier: Apache-2.0
// Program: sends zeros on some connections at once, as fast as they are taken or at a given rate, for a while. The time ends when the
// sink has said that the last byte arrived, so that nothing in a buffer counts as carried.
import { EPOLLIN, EPOLLOUT, MSG_NOSIGNAL, SHUT_WR } from '../../mesh/reactor/ffi/constants.ts'
import { describeErrno, E, errno, read, send, shutdown } from '../../mesh/reactor/ffi/libc.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import { Reactor, type ReadinessHandler } from '../../mesh/reactor/reactor.ts'
import type { ConnectHandler } from '../../mesh/reactor/tcp-connect.ts'
import { answer, dial, programArguments, type Target } from './dial.ts'

/** Settings of a run. */
export interface BulkSourceOptions {
  readonly target: Target
  readonly streams: number
  readonly seconds: number
  /** Of all streams together; 0: as fast as it is taken. */
  readonly bytesPerSecond: number
}

/** What a run gives. */
export interface BulkSourceResult {
  readonly bytes: number
  /** From the first connection to the last confirmation. */
  readonly seconds: number
  /** The least that one stream carried, as a share of the mean: 1 is fair. */
  readonly leastShare: number
  readonly failure: string
}

const CHUNK_BYTES = 262_144
/** Writes per turn of one stream, so that the others get theirs. */
const MAX_WRITES = 4
const chunk = allocateBlock(CHUNK_BYTES)
chunk.bytes.fill(0)
const reply = allocateBlock(64)

class BulkSource {
  readonly reactor: Reactor
  readonly options: BulkSourceOptions
  readonly #streams: BulkStream[] = []
  #startMs = 0
  #endMs = 0
  #open = 0
  #failure = ''

  constructor(reactor: Reactor, options: BulkSourceOptions) {
    this.reactor = reactor
    this.options = options
    this.#open = options.streams
    for (let i = 0; i < options.streams; i++) this.#streams.push(new BulkStream(this))
  }

  /** Milliseconds until a stream that has sent so much may go on; 0: now. */
  aheadMs(sentBytes: number): number {
    const { bytesPerSecond, streams } = this.options
    if (bytesPerSecond === 0) return 0
    const dueMs = (sentBytes * streams * 1000) / bytesPerSecond
    return Math.max(0, Math.ceil(dueMs - (performance.now() - this.#startMs)))
  }

  /** True while there is more to send. */
  isSending(): boolean {
    if (this.#startMs === 0) this.#startMs = performance.now()
    return performance.now() - this.#startMs < this.options.seconds * 1000
  }

  onStreamDone(failure: string): void {
    if (failure !== '') this.#failure = failure
    this.#endMs = performance.now()
    if (--this.#open === 0 || failure !== '') this.reactor.stop()
  }

  result(): BulkSourceResult {
    const each = this.#streams.map(({ confirmedBytes }) => confirmedBytes)
    const bytes = each.reduce((sum, value) => sum + value, 0)
    return {
      bytes,
      seconds: (this.#endMs - this.#startMs) / 1000,
      leastShare: Math.min(...each) / (bytes / each.length),
      failure: this.#failure,
    }
  }
}

class BulkStream implements ConnectHandler, ReadinessHandler {
  confirmedBytes = 0
  readonly #source: BulkSource
  #fd = -1
  #sentBytes = 0
  #hasEnded = false

  constructor(source: BulkSource) {
    this.#source = source
    dial(source.reactor, source.options.target, '', this)
  }

  onConnected(fd: number): void {
    this.#fd = fd
    this.#source.reactor.takeOver(fd, EPOLLIN | EPOLLOUT, this)
  }

  onConnectFailed({ code, detail }: { readonly code: string; readonly detail: string }): void {
    this.#source.onStreamDone(`${code} ${detail}`)
  }

  onReady(events: number): void {
    if ((events & EPOLLOUT) !== 0 && !this.#hasEnded) this.#send()
    if ((events & ~EPOLLOUT) !== 0) this.#receive()
  }

  #send(): void {
    for (let i = 0; i < MAX_WRITES; i++) {
      if (!this.#source.isSending()) {
        this.#hasEnded = true
        shutdown(this.#fd, SHUT_WR)
        this.#source.reactor.rewatch(this.#fd, EPOLLIN)
        return
      }
      const aheadMs = this.#source.aheadMs(this.#sentBytes)
      if (aheadMs > 0) {
        this.#waitFor(aheadMs)
        return
      }
      const sent = send(this.#fd, chunk.address, CHUNK_BYTES, MSG_NOSIGNAL)
      if (sent > 0) this.#sentBytes += sent
      else if (errno() !== E.AGAIN) this.#done(`send: ${describeErrno(errno())}`)
      if (sent < CHUNK_BYTES) return
    }
  }

  #waitFor(ms: number): void {
    const { reactor } = this.#source
    reactor.rewatch(this.#fd, EPOLLIN)
    reactor.startTimer(ms, () => {
      if (!this.#hasEnded) reactor.rewatch(this.#fd, EPOLLIN | EPOLLOUT)
    })
  }

  #receive(): void {
    const count = read(this.#fd, reply.address, 64)
    if (count < 0) {
      if (errno() !== E.AGAIN) this.#done(`read: ${describeErrno(errno())}`)
      return
    }
    if (count === 8) {
      this.confirmedBytes = reply.bytes.readDoubleLE(0)
      return
    }
    const isComplete = this.confirmedBytes === this.#sentBytes
    this.#done(isComplete ? '' : `sent ${this.#sentBytes} bytes, ${this.confirmedBytes} arrived`)
  }

  #done(failure: string): void {
    this.#source.reactor.closeLater(this.#fd)
    this.#source.onStreamDone(failure)
  }
}

if (import.meta.main) {
  const reactor = new Reactor()
  const source = new BulkSource(reactor, programArguments<BulkSourceOptions>())
  reactor.run()
  answer(source.result())
}
