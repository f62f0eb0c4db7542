// SPDX-License-Identifier: Apache-2.0
// A CONNECT on its way: from the request to exactly one of "connected" or "refused". Holds the stream until then, and
// is out of the path afterwards.
import { type Refusal, refuse } from '../errors/refusal.ts'
import type { H2Stream } from '../h2/stream.ts'
import { type HeaderList, headerValue, isInterim } from '../http/header-list.ts'
import type { HttpHeadersHandler, HttpStream } from '../http/http-stream.ts'
import type { ByteStreamHandler, CloseReason } from '../reactor/byte-stream.ts'
import type { Scheduler, Timer } from '../reactor/scheduler.ts'
import { DIVERTED_FOR_HEADER } from './diversion.ts'
import { HBONE_LIMITS } from './limits.ts'

/** What a CONNECT says. Values must be valid field values; the format… functions of this room make them. */
export interface ConnectRequest {
  readonly authority: string
  readonly baggage?: string
  readonly forwarded?: string
  readonly traceparent?: string
  /** Only for the inner CONNECT of double HBONE; '' is the default network. */
  readonly forwardedNetwork?: string
  /** Only of a diverted connection: for whom. */
  readonly divertedFor?: string
}

/** The outcome: one call, never from inside the call that asked. */
export interface ConnectHandler {
  /** The other side has connected. Call `stream.setHandler` before returning; `baggage` is its claim, or ''. */
  onConnected(stream: H2Stream, baggage: string): void
  /** It will not be. No byte of the application has been sent. */
  onRefused(refusal: Refusal): void
}

/** What can be done about a running CONNECT. */
export interface Cancellable {
  /** Ends it silently: no outcome is reported. Idempotent; a no-op after the outcome. */
  cancel(): void
}

/** SPEC HBONE §3.3: pseudo-headers, then these fields in this order. */
export function connectHeaders(request: ConnectRequest): HeaderList {
  const headers = [':method', 'CONNECT', ':authority', request.authority]
  if (request.baggage) headers.push('baggage', request.baggage)
  if (request.forwarded) headers.push('forwarded', request.forwarded)
  if (request.traceparent) headers.push('traceparent', request.traceparent)
  if (request.forwardedNetwork !== undefined) headers.push('x-forwarded-network', request.forwardedNetwork)
  if (request.divertedFor) headers.push(DIVERTED_FOR_HEADER, request.divertedFor)
  return headers
}

/** Why a status other than 200 refuses the connection. */
export function refusalOfStatus(status: string): Refusal {
  switch (status) {
    case '401':
      return refuse('POLICY_DENY', 'refused by the destination (401): its record names the policy')
    case '503':
      return refuse('ENDPOINT_REFUSED', 'the other node could not connect: status 503')
    case '431':
      return refuse('H2_HEADERS_TOO_LARGE', 'status 431')
    default:
      return refuse('TUNNEL_REFUSED', `status ${status}`)
  }
}

/** Made by TunnelClient. */
export class ConnectAttempt implements Cancellable, HttpHeadersHandler, ByteStreamHandler {
  readonly #stream: H2Stream
  /** Null once the outcome was reported or is not wanted. */
  #handler: ConnectHandler | null
  readonly #timer: Timer

  constructor(stream: H2Stream, handler: ConnectHandler, scheduler: Scheduler) {
    this.#stream = stream
    this.#handler = handler
    this.#timer = scheduler.startTimer(HBONE_LIMITS.connectTimeout.value, () =>
      this.#refuse(refuse('CONNECT_TIMEOUT', 'no answer to CONNECT')),
    )
    stream.headersHandler = this
    stream.setHandler(this)
  }

  cancel(): void {
    if (this.#take() !== null) this.#stream.destroy({ code: 'STREAM_RESET', detail: 'cancelled' })
  }

  onHeaders(_stream: HttpStream, headers: HeaderList): void {
    if (isInterim(headers)) return
    const status = headerValue(headers, ':status') ?? ''
    // SPEC HBONE §3.4: anything but exactly 200 is a failure.
    if (status !== '200') {
      this.#refuse(refusalOfStatus(status))
      return
    }
    const handler = this.#take()
    this.#stream.headersHandler = null
    handler?.onConnected(this.#stream, headerValue(headers, 'baggage') ?? '')
  }

  onData(): void {} // never before the response; afterwards the stream has another handler
  onEnd(): void {}
  onDrain(): void {}

  onClose(reason: CloseReason): void {
    this.#take()?.onRefused(refuse(reason.code === 'OK' ? 'TUNNEL_REFUSED' : reason.code, reason.detail))
  }

  #refuse(refusal: Refusal): void {
    const handler = this.#take()
    if (handler === null) return
    this.#stream.destroy({ code: 'STREAM_RESET', detail: 'refused' })
    handler.onRefused(refusal)
  }

  #take(): ConnectHandler | null {
    const handler = this.#handler
    this.#handler = null
    this.#timer.cancel()
    return handler
  }
}
