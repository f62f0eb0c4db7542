// SPDX-License-Identifier: Apache-2.0
// What is said about log and traces of one target, ready to be asked for every request.
import { headerValue } from '../../mesh/http/header-list.ts'
import {
  type ExpressionFacts,
  type LogExpression,
  type NumberAttribute,
  parseLogExpression,
  type TextAttribute,
} from '../../mesh/telemetry/log-expression.ts'
import type { RequestTelemetry } from '../../proto/generated/sidestep/v1/telemetry_pb.js'
import { responseFlags } from '../carry/request-series.ts'
import type { TraceSettings } from '../tracing/request-trace.ts'
import type { LoggedRequest, LoggedSource } from './logged-request.ts'

/** A text of every span of a service: as it stands, or of a header of the request. */
export interface SpanTag {
  readonly name: string
  /** '': `value` is the tag. */
  readonly header: string
  /** Without a header, or where the request has none. */
  readonly value: string
}

export class TargetTelemetry {
  readonly trace: TraceSettings
  readonly tags: readonly SpanTag[]
  readonly #isLogOff: boolean
  /** null: every request. */
  readonly #expression: LogExpression | null
  readonly #facts = new RequestAttributes()

  /** `telemetry` as main tells it: what is of the environment is its value already. */
  constructor({ accessLogging, tracing }: RequestTelemetry) {
    this.#isLogOff = accessLogging?.isDisabled ?? false
    const expression = accessLogging?.expression ?? ''
    // One that only a later version can read: too much is logged, not too little.
    const parsed = expression === '' ? '' : parseLogExpression(expression)
    this.#expression = typeof parsed === 'string' ? null : parsed
    this.trace = {
      samplesPerMillion: tracing?.samplesPerMillion ?? null,
      isReported: tracing?.disablesReporting !== true,
    }
    this.tags = tracing?.tags ?? []
  }

  /** Whether a request is written to the log. */
  isLogged(request: LoggedRequest, source: LoggedSource): boolean {
    if (this.#isLogOff) return false
    return this.#expression === null || this.#expression(this.#facts.of(request, source))
  }
}

/** A request as expressions see it; one object for all of them. */
class RequestAttributes implements ExpressionFacts {
  #request: LoggedRequest | null = null
  #source: LoggedSource | null = null

  of(request: LoggedRequest, source: LoggedSource): ExpressionFacts {
    this.#request = request
    this.#source = source
    return this
  }

  number(attribute: NumberAttribute): number | undefined {
    const request = this.#request
    switch (attribute) {
      case 'response.code':
        return request?.status === 0 ? undefined : request?.status
      case 'response.grpc_status':
        return request?.grpcStatus ?? undefined
      case 'request.size':
        return request?.bytesReceived
      case 'response.size':
        return request?.bytesSent
    }
  }

  text(attribute: TextAttribute): string | undefined {
    const request = this.#request
    const source = this.#source
    if (request === null || source === null) return undefined
    switch (attribute) {
      case 'request.method':
        return request.method
      case 'request.path':
        return headerValue(request.headers, ':path')
      case 'request.url_path':
        return request.path
      case 'request.host':
        return headerValue(request.headers, ':authority')
      case 'request.useragent':
        return headerValue(request.headers, 'user-agent')
      case 'request.id':
        return request.requestId === '' ? undefined : request.requestId
      case 'request.protocol':
        return source.version === 'http2' ? 'HTTP/2' : 'HTTP/1.1'
      case 'response.flags':
        return responseFlags(request)
      case 'source.address':
        return source.sender.ip
      case 'source.principal':
        return source.sender.identity === '' ? undefined : source.sender.identity
    }
  }

  header(of: 'request' | 'response', name: string): string | undefined {
    const request = this.#request
    return headerValue((of === 'request' ? request?.headers : request?.answerHeaders) ?? [], name)
  }
}
