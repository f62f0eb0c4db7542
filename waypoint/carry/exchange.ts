// SPDX-License-Identifier: Apache-2.0
// One request and its answer: decided, sent on, tried again where that is safe, answered. Bytes go from stream to stream as
// they come; only the beginning of a request's body is kept, and only until an answer has begun.
import { REASONS } from '../../mesh/errors/reasons.ts'
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { type HeaderList, headerValue, pseudoHeader } from '../../mesh/http/header-list.ts'
import type { HttpHeadersHandler, HttpStream } from '../../mesh/http/http-stream.ts'
import { cutShort, upstreamReason } from '../../mesh/http/reason-answer.ts'
import type { Block, ByteStreamHandler, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { Timer } from '../../mesh/reactor/scheduler.ts'
import type { Member } from '../../mesh/runtime/members.ts'
import { canonicalTarget } from '../decide/canonical-path.ts'
import { decideRequest, type Forward, type RequestDecision } from '../decide/request-decision.ts'
import type { Caller, RequestFacts } from '../decide/request-facts.ts'
import type { BelievedToken } from '../decide/request-tokens.ts'
import type { FaultAbort } from '../filters/fault.ts'
import type { HttpVersion } from '../upstream/cluster-view.ts'
import { type AttemptOutcome, refusedOutcome } from '../upstream/retry-policy.ts'
import { admitAgain, admitRequest } from './admission.ts'
import { Attempt, type AttemptOwner } from './attempt.ts'
import type { BodyLook } from './body-watch.ts'
import { ExchangeOutcome } from './exchange-outcome.ts'
import { refusedAnswer } from './generated-answer.ts'
import { MAX_DELAYED } from './limits.ts'
import type { OpenBytes } from './open-bytes.ts'
import { writeAll } from './replay.ts'
import { RequestBody } from './request-body.ts'
import type { Sender } from './request-headers.ts'
import { RequestPlan } from './request-plan.ts'
import { CALLER_GONE, RETRIES_EXHAUSTED, WAS_DELAYED } from './request-series.ts'
import type { Target } from './target.ts'
import type { KnownCluster, WaypointContext } from './waypoint-context.ts'

/** Where requests of one connection come from. */
export interface ExchangeSource {
  readonly context: WaypointContext
  readonly target: Target
  /** Clusters of this connection alone, for what asks for a workload; null: those of the worker. */
  readonly own: KnownCluster | null
  readonly caller: Caller
  readonly sender: Sender
  readonly version: HttpVersion
  onExchangeEnded(exchange: Exchange): void
}

const NO_WHOLE_ANSWER: CloseReason = { code: 'UPSTREAM_PROTOCOL', detail: 'no whole answer' }
/** The answer after which a connection speaks another protocol. */
const CHANGED = 101
const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])

export class Exchange
  extends ExchangeOutcome
  implements ByteStreamHandler, HttpHeadersHandler, AttemptOwner, Member, OpenBytes
{
  memberIndex = -1
  readonly #source: ExchangeSource
  readonly #stream: HttpStream
  /** null: the head is all of it. */
  readonly #body: RequestBody | null
  #attempt: Attempt | null = null
  #tried: Set<string> | null = null
  #timer: Timer | null = null
  #wait: Timer | null = null
  /** What let it in. */
  #believed: BelievedToken | null = null
  #isDelayed = false
  #hasAnswered = false
  #hasAnswerEnded = false
  #isOver = false

  constructor(source: ExchangeSource, stream: HttpStream, headers: HeaderList, isEnd: boolean) {
    const { context } = source
    const { tracer } = context
    const trace = tracer === null ? null : tracer.begin(headers, source.target.telemetry?.trace ?? null)
    super(headers, context.reactor.nowMs, trace)
    this.#source = source
    this.#stream = stream
    this.#body = isEnd ? null : new RequestBody()
    context.exchangeCount++
    stream.headersHandler = this
    stream.setHandler(this)
    stream.pause()
    this.#begin()
  }

  /** Ends it without an answer, as far as none has begun. */
  abort(reason: CloseReason): void {
    if (this.#isOver) return
    this.#stream.destroy(reason)
    this.#over(reason)
  }

  /**
   * Answers 408 when its caller owes a body and sends nothing of it. A call may be silent for hours, both ways, and so may who asked
   * for another protocol; where an answer has begun it is between caller and service.
   */
  giveUpStalled(look: BodyLook): void {
    if (this.#body === null || this.#hasAnswered || this.#isOver) return
    if (!this.#body.hasStalled(this.bytesReceived, this.#stream.isPaused, look)) return
    if (this.isCall || this.method === 'CONNECT' || this.facts?.header('upgrade') !== undefined) return
    this.#fail(refuse('HTTP_BODY_TIMEOUT', `nothing of it for ${look.timeoutMs / 1000} s`))
  }

  get authority(): string {
    return this.#source.target.view.authority
  }

  /** Of one that has changed to another protocol: ends it when the policies of now would not let it in. */
  recheck(): void {
    const canonical = canonicalTarget(pseudoHeader(this.headers, ':path'))
    if (this.#isOver || isRefusal(canonical)) return
    admitAgain(this.#source, this.headers, canonical, this.#believed, ({ refusal, policy }) => {
      if (this.#isOver || refusal === null) return
      this.policy = policy
      this.#fail(refuse('POLICY_CHANGED', refusal.detail))
    })
  }

  #begin(): void {
    const path = pseudoHeader(this.headers, ':path')
    const canonical = canonicalTarget(path === '*' ? '/' : path)
    if (isRefusal(canonical)) {
      this.#refuse(canonical)
      return
    }
    admitRequest(this.#source, this.headers, canonical, (admission) => {
      if (this.#isOver) return
      this.facts = admission.facts
      this.#believed = admission.believed
      this.policy = admission.policy
      this.policyNotes = admission.notes
      if (admission.refusal === null) this.#route(admission.facts)
      else this.#refuse(admission.refusal)
    })
  }

  #route(facts: RequestFacts): void {
    const { target, context } = this.#source
    const decision = decideRequest(facts, target.route(facts), target.port, Math.random)
    if (decision.delayMs === 0) this.#do(decision)
    else if (context.delayedCount >= MAX_DELAYED)
      this.#refuse(refuse('LIMIT_POD', 'too many requests wait on purpose'))
    else {
      this.#isDelayed = true
      this.marks |= WAS_DELAYED
      context.delayedCount++
      this.#wait = context.reactor.startTimer(decision.delayMs, () => {
        this.#undelay()
        this.#do(decision)
      })
    }
  }

  #do(decision: RequestDecision): void {
    if (decision.kind === 'refused') this.#refuse(decision.refusal, decision.abort)
    else if (decision.kind === 'answer') this.#answerLocally(decision.headers, decision.body)
    else this.#start(decision)
  }

  #start(forward: Forward): void {
    const facts = this.facts
    if (facts === null) return
    const plan = RequestPlan.make(this.#source, facts, forward)
    if (isRefusal(plan)) {
      this.#refuse(plan)
      return
    }
    this.plan = plan
    const { timeoutMs, policy } = plan.sending
    if (timeoutMs > 0)
      this.#timer = this.#source.context.reactor.startTimer(timeoutMs, () =>
        this.#fail(refuse('REQUEST_TIMEOUT', `${timeoutMs} ms`)),
      )
    if (policy.attempts > 0) this.#body?.keep()
    this.#find(plan)
  }

  #find(plan: RequestPlan): void {
    const { context, own } = this.#source
    const name = plan.clusterName
    const known = name === '' ? own : context.clusters.get(name)
    if (known === null) this.#refuse(refuse('TARGET_UNSERVED', 'nowhere to send it'))
    else if (known !== undefined) this.#open(plan, known)
    else
      context.clusters.request(name, (answer) => {
        if (this.#isOver) return
        if (isRefusal(answer)) this.#refuse(answer)
        else this.#open(plan, answer)
      })
  }

  #open(plan: RequestPlan, known: KnownCluster): void {
    this.known = known
    const { refusal } = known.facts
    if (refusal !== null) {
      this.#refuse(refusal)
      return
    }
    const mirrors = plan.startMirrors(this.#body === null, (headers) => this.trace?.copy(headers) ?? headers)
    this.#body?.copyTo(mirrors)
    this.#try(plan, known, null)
  }

  #try(plan: RequestPlan, known: KnownCluster, place: Attempt['place']): void {
    const { context, version } = this.#source
    const { cluster } = known
    const attempt = new Attempt(known, place, this)
    this.#attempt = attempt
    this.attemptCount++
    const { attemptTimeoutMs: timeoutMs } = plan.sending
    if (timeoutMs > 0)
      attempt.timer = context.reactor.startTimer(timeoutMs, () => this.#onAttemptTimeout(attempt, timeoutMs))
    const isUpgrade = this.facts?.header('upgrade') !== undefined
    attempt.opening(
      cluster.open(
        {
          headers: this.#attemptHeaders(plan),
          isEnd: this.#body === null,
          hash: plan.hash(known),
          exclude: this.#tried,
          stickyKey: plan.stickyKey,
          askedIp: null,
          version: cluster.versionFor(version, isUpgrade),
        },
        attempt,
      ),
    )
  }

  #attemptHeaders(plan: RequestPlan): HeaderList {
    const headers = plan.requestHeaders()
    return this.trace === null ? headers : this.trace.begin(headers, this.#source.context.reactor.nowMs)
  }

  // ---- what the caller sends

  onHeaders(_stream: HttpStream, headers: HeaderList): void {
    this.#body?.end(headers, this.#attempt?.stream ?? null)
  }

  onData(block: Block, start: number, end: number): void {
    this.bytesReceived += end - start
    if (this.#body?.write(block, start, end, this.#attempt?.stream ?? null) === false) this.#stream.pause()
  }

  onEnd(): void {
    this.#body?.end(null, this.#attempt?.stream ?? null)
  }

  onDrain(): void {
    this.#attempt?.stream?.resume()
  }

  onClose(reason: CloseReason): void {
    if (this.#isOver) return
    if (this.#stream.isAnsweredByCodec) this.status = REASONS[reason.code].httpStatus
    else if (!this.#hasAnswerEnded) this.marks |= CALLER_GONE
    this.#over(reason)
  }

  // ---- what the service answers

  onOpened(attempt: Attempt): void {
    const { stream } = attempt
    this.endpoint = attempt.endpoint
    this.sentMs = this.#source.context.reactor.nowMs
    if (stream === null) return
    const isFlowing = this.#body?.begin(stream, this.#source.context.scratch) ?? true
    if (isFlowing) this.#stream.resume()
  }

  onRequestDrain(): void {
    this.#stream.resume()
  }

  onInterim(headers: HeaderList): void {
    if (!this.#hasAnswered) this.#stream.sendHeaders(headers, false)
  }

  onAnswer(attempt: Attempt, status: number, headers: HeaderList, isEnd: boolean): void {
    const { grpcStatus, endpoint } = attempt
    const { nowMs } = this.#source.context.reactor
    this.trace?.note(status, 'OK', endpoint, nowMs)
    if (this.#retry(attempt, { kind: 'answer', status, grpcStatus })) return
    attempt.timer?.cancel()
    this.status = status
    this.grpcStatus = grpcStatus
    this.#hasAnswered = true
    this.#body?.release()
    this.answeredMs = nowMs
    this.answerHeaders = this.plan?.answerHeaders(headers, this.endpoint) ?? headers
    this.#stream.sendHeaders(this.answerHeaders, isEnd)
    if (isEnd) this.#hasAnswerEnded = true
    if (status !== CHANGED) return
    this.#source.context.openBytes.add(this)
    this.recheck() // the policies may have changed while the service was asked
  }

  onTrailers(headers: HeaderList): void {
    this.#hasAnswerEnded = true
    const grpcStatus = headerValue(headers, 'grpc-status')
    if (grpcStatus !== undefined) this.grpcStatus = Number(grpcStatus)
    this.#stream.sendHeaders(headers, true)
  }

  onAnswerData(attempt: Attempt, block: Block, start: number, end: number): void {
    this.bytesSent += end - start
    if (!this.#stream.write(block, start, end)) attempt.stream?.pause()
  }

  onAnswerEnd(): void {
    this.#hasAnswerEnded = true
    this.#stream.end()
  }

  onLost(attempt: Attempt, reason: CloseReason, outcome: AttemptOutcome): void {
    if (this.#attempt !== attempt) return
    if (this.#hasAnswered) {
      this.#attempt = null
      // Whatever the caller still sends has nowhere to go.
      if (!this.#hasAnswerEnded) this.#cut(upstreamReason(reason.code === 'OK' ? NO_WHOLE_ANSWER : reason))
      return
    }
    this.endpoint = attempt.endpoint
    const { code, detail } = upstreamReason(reason.code === 'OK' ? NO_WHOLE_ANSWER : reason)
    this.trace?.note(0, code, attempt.endpoint, this.#source.context.reactor.nowMs)
    const refusal = refuse(code, detail)
    if (this.#retry(attempt, outcome)) return
    this.#refuse(refusal)
  }

  #onAttemptTimeout(attempt: Attempt, timeoutMs: number): void {
    if (this.#attempt !== attempt || this.#hasAnswered) return
    const outcome = attempt.upstream?.timedOut() ?? refusedOutcome(null)
    this.trace?.note(0, 'REQUEST_TIMEOUT', attempt.endpoint, this.#source.context.reactor.nowMs)
    if (this.#retry(attempt, outcome)) return
    this.#fail(refuse('REQUEST_TIMEOUT', `${timeoutMs} ms for one attempt`))
  }

  /** True when it is tried again. */
  #retry(attempt: Attempt, outcome: AttemptOutcome): boolean {
    const { known, endpoint } = attempt
    const { plan } = this
    if (plan === null) return false
    const retry = known.cluster.retry(plan.sending.policy, outcome, {
      attempts: this.attemptCount,
      canReplay: this.#body === null || this.#body.isReplayable,
      isAnswerStarted: this.#hasAnswered,
      isIdempotent: SAFE_METHODS.has(this.method),
    })
    if (typeof retry === 'string') {
      if (retry === 'attempts' && this.attemptCount > 1) this.marks |= RETRIES_EXHAUSTED
      return false
    }
    this.#source.context.retryTotal++
    this.trace?.giveUp()
    const { place, afterMs } = retry
    attempt.drop()
    this.#attempt = null
    this.#stream.pause()
    if (endpoint !== null) {
      this.#tried ??= new Set()
      this.#tried.add(endpoint.key)
    }
    const again = (): void => {
      if (this.#isOver) place.giveBack()
      else this.#try(plan, known, place)
    }
    this.#wait = this.#source.context.reactor.startTimer(afterMs, again)
    return true
  }

  // ---- ends

  /** Answers with a reason, if nothing was answered; else cuts it. */
  #fail(refusal: Refusal): void {
    if (this.#isOver) return
    this.#dropAttempt()
    if (!this.#hasAnswered) {
      this.#refuse(refusal)
      return
    }
    this.#cut(refusal)
  }

  /** Half an answer must not look like a whole one. */
  #cut(reason: CloseReason): void {
    this.reason = reason
    this.#stream.destroy(cutShort(reason))
    this.#over(reason)
  }

  #refuse(refusal: Refusal, abort: FaultAbort = null): void {
    this.reason = refusal
    const { isCall } = this
    const { headers, body } = refusedAnswer(refusal, isCall, abort)
    if (isCall) this.grpcStatus = Number(headerValue(headers, 'grpc-status') ?? '')
    this.#answerLocally(headers, body)
  }

  #answerLocally(headers: HeaderList, body: Uint8Array | null): void {
    if (this.#isOver || this.#stream.isClosed) return
    this.#dropAttempt()
    this.#timer?.cancel()
    this.status = Number(headers[1] ?? '0')
    this.#hasAnswered = true
    this.#hasAnswerEnded = true
    this.answerHeaders = headers
    const isBodyless = body === null || this.method === 'HEAD'
    this.#stream.sendHeaders(headers, isBodyless)
    if (!isBodyless) {
      this.bytesSent += body.length
      writeAll([body], this.#stream, this.#source.context.scratch)
      this.#stream.end()
    }
    this.#stream.resume() // whatever the caller still sends is not looked at
  }

  #dropAttempt(): void {
    const attempt = this.#attempt
    this.#attempt = null
    attempt?.drop()
  }

  #undelay(): void {
    if (!this.#isDelayed) return
    this.#isDelayed = false
    this.#source.context.delayedCount--
  }

  #over(reason: CloseReason): void {
    if (this.#isOver) return
    this.#isOver = true
    this.endedMs = this.#source.context.reactor.nowMs
    if (reason.code !== 'OK' && this.reason.code === 'OK') this.reason = reason
    this.#timer?.cancel()
    this.#wait?.cancel()
    this.#undelay()
    this.#dropAttempt()
    this.#body?.close()
    if (this.status === CHANGED) this.#source.context.openBytes.delete(this)
    this.#source.context.exchangeCount--
    this.#source.onExchangeEnded(this)
  }
}
