// SPDX-License-Identifier: Apache-2.0
// A connection to an endpoint, as its pool sees it, whichever version of HTTP it speaks.
import type { Refusal } from '../../mesh/errors/refusal.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import type { HttpStream } from '../../mesh/http/http-stream.ts'
import type { CloseReason } from '../../mesh/reactor/byte-stream.ts'

/** What a connection tells its pool, never within a call of the pool's. */
export interface ConnectionHandler {
  /** It may take a request again. */
  onRoom(connection: UpstreamConnection): void
  /** Exactly once and last, after onClose of its streams. */
  onConnectionClosed(connection: UpstreamConnection): void
}

/** Owns its session and transport. It ends by `drain`, `destroy`, or the server. */
export interface UpstreamConnection {
  /** The pool's mark: it is among those that are asked first. */
  isReady: boolean
  /** A request may be started now. */
  readonly hasRoom: boolean
  /** It takes no more requests, and may last until those under way have ended. */
  readonly isEnding: boolean
  /** Requests that it takes at one time, as far as is known. */
  readonly capacity: number
  /** Requests that are under way. */
  readonly openCount: number
  /** Requests ever started. */
  readonly requestCount: number
  readonly startedMs: number
  /** When the last request ended; meaningful while openCount is 0. */
  readonly idleSinceMs: number
  /** Refused: nothing was sent. `hasRoom` says whether the connection or the request is the reason. */
  start(headers: HeaderList, isEnd: boolean): HttpStream | Refusal
  /** True when a request of this connection that ended for `reason` was certainly not looked at by the server. */
  isUnprocessed(reason: CloseReason): boolean
  /** True when no byte came since the last request was started. */
  readonly isSilent: boolean
  /** A request got no answer in time: finds out whether anybody is there. */
  probe(): void
  /** Requests under way finish, then it closes. */
  drain(): void
  destroy(reason: CloseReason): void
}
