// SPDX-License-Identifier: Apache-2.0
// What is told of a request, a connection, or of what could not become a request: for log, tap and spans alike.
import type { ReasonCode } from '../../mesh/errors/reasons.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import type { RequestTrace } from '../tracing/request-trace.ts'
import type { HttpVersion } from '../upstream/cluster-view.ts'

/** Where it came from, and what for. One for each connection: texts are kept for it. */
export interface LoggedSource {
  readonly sender: { readonly ip: string; readonly identity: string }
  readonly caller: { readonly namespace: string }
  readonly target: {
    readonly view: {
      readonly kind: string
      readonly authority: string
      /** Of a service. */
      readonly hostname?: string
      readonly namespace?: string
      readonly name?: string
      readonly port?: number
    }
  }
  /** null: a connection of bytes. */
  readonly version: HttpVersion | null
}

/** How it ended. Times are the reactor's, ms. */
export interface LoggedRequest {
  readonly reason: { readonly code: ReasonCode; readonly detail: string }
  /** As they came; [] where nothing could be read. */
  readonly headers: HeaderList
  /** null: nothing was answered, or not by us. */
  readonly answerHeaders: HeaderList | null
  readonly method: string
  readonly host: string
  /** Without query. */
  readonly path: string
  readonly status: number
  readonly grpcStatus: number | null
  readonly marks: number
  readonly endpoint: { readonly ip: string; readonly port: number; readonly identity: string } | null
  readonly known: { readonly facts: { readonly view: { readonly name: string } } } | null
  /** Where the rule is written; '': there is none. */
  readonly route: string
  readonly requestId: string
  readonly policy: string
  readonly policyNotes: readonly string[]
  readonly attemptCount: number
  readonly bytesReceived: number
  readonly bytesSent: number
  readonly startedMs: number
  readonly endedMs: number
  /** The head of the attempt that was answered is sent; its answer's head is here. NaN: never. */
  readonly sentMs: number
  readonly answeredMs: number
  readonly trace: RequestTrace | null
}

/** Epoch ms of a time of the reactor's. */
export function epochMs(reactorMs: number): number {
  return performance.timeOrigin + reactorMs
}
