// SPDX-License-Identifier: Apache-2.0
// A copy of a request that goes to another service, whose answer nobody sees. It never holds up the request: what it cannot
// take in time is given up.
import { isRefusal } from '../../mesh/errors/refusal.ts'
import type { Cancellable } from '../../mesh/hbone/connect-attempt.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import type { HttpStream } from '../../mesh/http/http-stream.ts'
import type { ByteStreamHandler } from '../../mesh/reactor/byte-stream.ts'
import type { Mirror as MirrorFilter } from '../../proto/generated/sidestep/v1/routes_pb.js'
import { clusterName } from '../model/views.ts'
import type { OpenHandler } from '../upstream/open-attempt.ts'
import type { UpstreamExchange } from '../upstream/upstream-exchange.ts'
import type { ExchangeSource } from './exchange.ts'
import { MAX_MIRROR_BYTES, MAX_MIRRORS } from './limits.ts'
import { writeAll } from './replay.ts'
import type { KnownCluster } from './waypoint-context.ts'

const MILLION = 1_000_000

/** One copy. */
export class Mirror implements OpenHandler, ByteStreamHandler {
  readonly #source: ExchangeSource
  readonly #headers: () => HeaderList
  readonly #isEmpty: boolean
  #opening: Cancellable | null = null
  #stream: HttpStream | null = null
  #exchange: UpstreamExchange | null = null
  #waiting: Buffer[] = []
  #waitingBytes = 0
  #hasEnded: boolean
  #isOver = false

  private constructor(source: ExchangeSource, headers: () => HeaderList, isEmpty: boolean) {
    this.#source = source
    this.#headers = headers
    this.#isEmpty = isEmpty
    this.#hasEnded = isEmpty
  }

  /** null: this request is not copied. */
  static start(
    { backend, millionths }: MirrorFilter,
    source: ExchangeSource,
    headers: () => HeaderList,
    isEmpty: boolean,
  ): Mirror | null {
    const { context, target } = source
    if (backend === undefined || backend.broken !== '' || context.mirrorCount >= MAX_MIRRORS) return null
    if (millionths < MILLION && Math.random() * MILLION >= millionths) return null
    const mirror = new Mirror(source, headers, isEmpty)
    const name = clusterName(backend.service, backend.port === 0 ? target.port : backend.port, backend.subset)
    context.mirrorCount++
    context.mirrorTotal++
    const known = context.clusters.get(name)
    if (known !== undefined) mirror.#open(known)
    else
      context.clusters.request(name, (answer) => {
        if (isRefusal(answer)) mirror.#over()
        else mirror.#open(answer)
      })
    return mirror
  }

  /** Copies the bytes. */
  write(bytes: Buffer, start: number, end: number): void {
    if (this.#isOver) return
    const copy = Buffer.from(bytes.subarray(start, end))
    const stream = this.#stream
    if (stream !== null) {
      writeAll([copy], stream, this.#source.context.scratch)
      if (stream.bufferedBytes > MAX_MIRROR_BYTES) this.#over()
      return
    }
    this.#waitingBytes += copy.length
    if (this.#waitingBytes > MAX_MIRROR_BYTES) this.#over()
    else this.#waiting.push(copy)
  }

  /** The request is complete, or goes no further. */
  end(): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#stream?.end()
  }

  #open({ cluster, facts }: KnownCluster): void {
    if (this.#isOver) return
    if (facts.refusal !== null) {
      this.#over()
      return
    }
    this.#opening = cluster.open(
      {
        ...{ headers: this.#headers(), isEnd: this.#isEmpty, hash: null },
        version: cluster.versionFor(this.#source.version, false),
        ...{ exclude: null, stickyKey: null, askedIp: null },
      },
      this,
    )
  }

  onStream(stream: HttpStream, exchange: UpstreamExchange): void {
    this.#opening = null
    this.#stream = stream
    this.#exchange = exchange
    stream.headersHandler = null
    stream.setHandler(this)
    writeAll(this.#waiting, stream, this.#source.context.scratch)
    this.#waiting = []
    if (this.#hasEnded && !this.#isEmpty) stream.end()
  }

  onRefused(): void {
    this.#over()
  }
  onData(): void {}
  onEnd(): void {}
  onDrain(): void {}
  onClose(): void {
    this.#over()
  }

  #over(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#source.context.mirrorCount--
    this.#waiting = []
    this.#opening?.cancel()
    this.#exchange?.end()
  }
}
