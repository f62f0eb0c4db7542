// SPDX-License-Identifier: Apache-2.0
// A client, a relay and a server in memory, each side of the relay with its own version of HTTP.
import { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import { pseudoHeader } from '../../mesh/http/header-list.ts'
import type { HttpStream } from '../../mesh/http/http-stream.ts'
import { reasonAnswer } from '../../mesh/http/reason-answer.ts'
import type { CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { ManualScheduler, memoryBlock } from '../../mesh/reactor/memory-pair.ts'
import { HttpRelay } from './http-relay.ts'
import { connectHttp, type HttpClient, type HttpVersion, RecordedEnd, SMALL_WINDOWS } from './http-wire.ts'

/** `h1` calls, `h2` is called, or the like. */
export interface Versions {
  readonly down: HttpVersion
  readonly up: HttpVersion
}

export class RelayPair {
  readonly scheduler = new ManualScheduler()
  readonly resources = new SessionResources({ scheduler: this.scheduler, allocateBlock: memoryBlock })
  /** What reached the server. */
  readonly requests: RecordedEnd[] = []
  readonly relays: HttpRelay[] = []
  /** Of relays that are over. */
  readonly reasons: CloseReason[] = []
  /** Why requests got no answer of the server's. */
  readonly unanswered: CloseReason[] = []
  readonly #client: HttpClient
  readonly #upstream: HttpClient

  constructor({ down, up }: Versions) {
    const wire = { local: SMALL_WINDOWS, highWaterBytes: 10_000, chunkBytes: 20_000 }
    const record = (...request: ConstructorParameters<typeof RecordedEnd>) =>
      void this.requests.push(new RecordedEnd(...request))
    this.#upstream = connectHttp(up, this.scheduler, this.resources, record, wire)
    const forward = (stream: HttpStream, headers: HeaderList, isEnd: boolean) =>
      this.#forward(stream, headers, isEnd)
    this.#client = connectHttp(down, this.scheduler, this.resources, forward, wire)
  }

  run(): void {
    this.scheduler.runUntilIdle()
  }

  /** Breaks the connection to the server. */
  cutUpstream(): void {
    this.#upstream.cut()
    this.run()
  }

  /** Sends a request, which has to reach the server. */
  ask(headers: HeaderList, isEnd: boolean): { near: RecordedEnd; far: RecordedEnd } {
    const near = new RecordedEnd(this.#client.open(headers, isEnd), headers, isEnd)
    this.run()
    const far = this.requests.at(-1)
    if (far === undefined) throw new Error('no request came through')
    return { near, far }
  }

  #forward(stream: HttpStream, headers: HeaderList, isEnd: boolean): void {
    const owner = {
      onAnswer: (answer: HeaderList): HeaderList => [...answer, 'via', 'test'],
      onUnanswered: (reason: CloseReason) => {
        this.unanswered.push(reason)
        stream.sendHeaders(reasonAnswer(headers, reason.code), true)
      },
      onRelayClosed: (reason: CloseReason) => void this.reasons.push(reason),
    }
    const isConnect = pseudoHeader(headers, ':method') === 'CONNECT'
    this.relays.push(new HttpRelay(stream, this.#upstream.open(headers, isEnd), owner, isConnect))
  }
}
