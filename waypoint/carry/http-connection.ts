// SPDX-License-Identifier: Apache-2.0
// One connection of a caller that speaks HTTP, of either version: a session on its tunnel stream, an exchange for each request.
import { REASONS } from '../../mesh/errors/reasons.ts'
import type { Refusal } from '../../mesh/errors/refusal.ts'
import { H2Session } from '../../mesh/h2/session.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import type { HttpStream } from '../../mesh/http/http-stream.ts'
import { Http1ServerSession } from '../../mesh/http1/server-session.ts'
import type { ByteStream, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { Members } from '../../mesh/runtime/members.ts'
import type { Caller } from '../decide/request-facts.ts'
import type { HttpVersion } from '../upstream/cluster-view.ts'
import type { BodyLook, WatchedConnection } from './body-watch.ts'
import { Exchange, type ExchangeSource } from './exchange.ts'
import { recordRefused } from './exchange-record.ts'
import type { Sender } from './request-headers.ts'
import type { CallerSeries, EndedRequest } from './request-series.ts'
import type { Target } from './target.ts'
import type { KnownCluster, WaypointContext } from './waypoint-context.ts'

/** What a connection is about. */
export interface ConnectionOptions {
  readonly context: WaypointContext
  readonly target: Target
  readonly caller: Caller
  readonly series: CallerSeries
  readonly sender: Sender
  /** What it said when it was diverted here; ''. */
  readonly divertedFor: string
  /** Cluster of this connection alone; null: those of the worker. */
  readonly own: KnownCluster | null
  /** It has ended. */
  readonly onClosed: (reason: CloseReason) => void
}

type Session = Pick<H2Session, 'drain' | 'destroy'>

export class HttpConnection implements ExchangeSource, WatchedConnection {
  memberIndex = -1
  readonly context: WaypointContext
  readonly own: KnownCluster | null
  readonly caller: Caller
  readonly sender: Sender
  readonly version: HttpVersion
  readonly #asked: Target
  readonly #series: CallerSeries
  readonly #exchanges = new Members<Exchange>()
  readonly #session: Session

  /** `transport` is the connection's from now on. */
  constructor(options: ConnectionOptions, transport: ByteStream, version: HttpVersion) {
    this.context = options.context
    this.#asked = options.target
    this.own = options.own
    this.caller = options.caller
    this.#series = options.series
    this.sender = options.sender
    this.version = version
    const { inner: resources } = this.context
    const onStream = (stream: HttpStream, headers: HeaderList, isEnd: boolean): void => {
      this.#exchanges.add(new Exchange(this, stream, headers, isEnd))
    }
    const onClose = (reason: CloseReason): void => {
      this.context.bodies.delete(this)
      for (const exchange of this.#exchanges.all()) exchange.abort(reason)
      this.own?.cluster.drain(reason)
      options.onClosed(reason)
    }
    const onRefused = (refusal: Refusal): void => {
      recordRefused(this, refusal)
      const { series, reactor } = this.context
      series.countRequest(this.#series, this.target, unreadable(refusal, reactor.nowMs), reactor.nowMs)
    }
    this.context.bodies.add(this)
    this.#session =
      version === 'http2'
        ? new H2Session({
            ...{ role: 'server', transport, resources },
            handler: { onStream, onClose, onPeerSettings() {}, onGoaway() {} },
          })
        : new Http1ServerSession({
            ...{ transport, resources, scheme: 'http', handler: { onStream, onClose, onRefused } },
          })
  }

  /** As it is now: a connection may outlive a version of its routes and policies. */
  get target(): Target {
    return this.context.targets.get(this.#asked.view.authority)?.target ?? this.#asked
  }

  /** Requests under way are answered, then it ends. */
  drain(): void {
    this.#session.drain()
  }

  destroy(reason: CloseReason): void {
    this.#session.destroy(reason)
  }

  giveUpStalled(look: BodyLook): void {
    for (const exchange of this.#exchanges.all()) exchange.giveUpStalled(look)
  }

  onExchangeEnded(exchange: Exchange): void {
    this.#exchanges.delete(exchange)
    const { log, series, reactor } = this.context
    const { target } = this
    log.ended(this, exchange, target.telemetry)
    series.countRequest(this.#series, target, exchange, reactor.nowMs)
  }
}

/** What could not become a request, as it is counted. */
function unreadable(reason: Refusal, startedMs: number): EndedRequest {
  return {
    ...{ status: REASONS[reason.code].httpStatus, grpcStatus: null, isCall: false, reason, marks: 0 },
    ...{ known: null, endpoint: null, startedMs, bytesReceived: 0, bytesSent: 0 },
  }
}
