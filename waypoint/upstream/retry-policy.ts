// SPDX-License-Identifier: Apache-2.0
// Whether an attempt that failed is made again, and when. Pure; the words are Istio’s and Envoy’s. Never once a byte of an
// answer was handed on. SPEC ENVOY x-envoy-retry-on, x-envoy-retry-grpc-on.
import type { Retry } from '../../proto/generated/sidestep/v1/routes_pb.js'
import type { EndpointView } from './cluster-view.ts'
import { milliseconds } from './duration.ts'
import { MAX_RETRIES_PER_REQUEST, RETRY_BACKOFF_FACTOR, RETRY_BACKOFF_MS } from './limits.ts'

/** gRPC statuses by the word that stands for them. */
const GRPC_STATUS_OF = {
  cancelled: 1,
  'deadline-exceeded': 4,
  internal: 13,
  'resource-exhausted': 8,
  unavailable: 14,
} as const

/** What a route may ask to have tried again. */
const CONDITIONS: readonly string[] = [
  ...['5xx', 'gateway-error', 'reset', 'reset-before-request', 'connect-failure', 'refused-stream'],
  ...['retriable-4xx', 'retriable-status-codes', 'cancelled', 'deadline-exceeded', 'internal'],
  ...['resource-exhausted', 'unavailable'],
]

/** What a route says about trying again. */
export interface RetryPolicy {
  /** After the first. */
  readonly attempts: number
  readonly on: ReadonlySet<string>
  /** HTTP statuses. */
  readonly statuses: ReadonlySet<number>
  /** Before the second attempt; it doubles. 0: a short wait by chance. */
  readonly leastWaitMs: number
  /** null: that of the request. */
  readonly perTryTimeoutMs: number | null
}

/** SPEC ISTIO: what holds for a route that says nothing. A 503 may come after the work was done: it is not among them. */
export const DEFAULT_RETRY_POLICY: RetryPolicy = {
  attempts: 2,
  on: new Set(['connect-failure', 'refused-stream', 'unavailable', 'cancelled', 'reset-before-request']),
  statuses: new Set(),
  leastWaitMs: 0,
  perTryTimeoutMs: null,
}

/** How an attempt ended. */
export type AttemptOutcome =
  /** The head of an answer. `grpcStatus` of an answer that is trailers only; null: none, or not known yet. */
  | { readonly kind: 'answer'; readonly status: number; readonly grpcStatus: number | null }
  /** No connection: nothing was sent. */
  | { readonly kind: 'connect-failure' }
  /**
   * It ended without a whole head of an answer. `isUnprocessed`: the server has certainly not looked at it (refused-stream,
   * GOAWAY, not a byte had left). `isStale`: it went out on a kept connection that ended with not one byte of an answer.
   */
  | { readonly kind: 'reset'; readonly isUnprocessed: boolean; readonly isStale: boolean }
  /** No answer in the time of one attempt. */
  | { readonly kind: 'timeout' }
  /** Nobody was asked: a limit of ours, or no endpoint. More attempts would only add to it. */
  | { readonly kind: 'unplaced' }

/** What else matters. */
export interface RetryFacts {
  /** Attempts made so far, ≥ 1. */
  readonly attempts: number
  /** The request can be sent once more from its first byte. */
  readonly canReplay: boolean
  /** Something of an answer was handed on. */
  readonly isAnswerStarted: boolean
  /** SPEC RFC9110 §9.2.2: doing it twice is doing it once. */
  readonly isIdempotent: boolean
}

/** Why it is not tried again; `allowance`: too many of the cluster are (Cluster.retry). */
export type NoRetry = 'answered' | 'body' | 'unplaced' | 'not-asked' | 'attempts' | 'allowance'

export type RetryDecision =
  | { readonly kind: 'retry'; readonly afterMs: number }
  | { readonly kind: 'no'; readonly why: NoRetry }

/** Attempts of a request that no server has looked at, whatever the route says. */
const SAFE_ATTEMPTS = 3

/** What a rule says; words that nobody knows are left out. */
export function retryPolicy(retry: Retry): RetryPolicy {
  return {
    attempts: Math.min(retry.attempts, MAX_RETRIES_PER_REQUEST),
    on: new Set(retry.on.filter((word) => CONDITIONS.includes(word))),
    statuses: new Set(retry.statuses),
    leastWaitMs: milliseconds(retry.backoff),
    perTryTimeoutMs: milliseconds(retry.perTry) || null,
  }
}

/** What a refusal of `Cluster.open` is, with the endpoint that it told. */
export function refusedOutcome(endpoint: EndpointView | null): AttemptOutcome {
  return { kind: endpoint === null ? 'unplaced' : 'connect-failure' }
}

/** `random`: uniform in [0, 1), for this decision. */
export function decideRetry(
  policy: RetryPolicy,
  outcome: AttemptOutcome,
  facts: RetryFacts,
  random: number,
): RetryDecision {
  if (facts.isAnswerStarted) return no('answered')
  if (outcome.kind === 'unplaced') return no('unplaced')
  const isSafe = isSafeToRepeat(outcome, facts)
  if (!isSafe && !isAskedFor(policy, outcome)) return no('not-asked')
  if (facts.attempts > policy.attempts && !(isSafe && facts.attempts < SAFE_ATTEMPTS)) return no('attempts')
  if (!facts.canReplay) return no('body')
  return { kind: 'retry', afterMs: isSafe ? 0 : waitMs(policy.leastWaitMs, facts.attempts, random) }
}

/** Nobody has done anything for this request, or doing it twice is harmless. */
function isSafeToRepeat(outcome: AttemptOutcome, { isIdempotent }: RetryFacts): boolean {
  // SPEC RFC9112 §9.3.1: a connection may end at any time; who sent on it just then may ask again, if that is harmless.
  return outcome.kind === 'reset' && (outcome.isUnprocessed || (outcome.isStale && isIdempotent))
}

function isAskedFor({ on, statuses }: RetryPolicy, outcome: AttemptOutcome): boolean {
  switch (outcome.kind) {
    case 'answer':
      return isStatusAskedFor(on, statuses, outcome.status) || isGrpcAskedFor(on, outcome.grpcStatus)
    case 'connect-failure':
      return on.has('connect-failure') || on.has('reset-before-request') || isFailureAskedFor(on)
    case 'reset':
      if (outcome.isUnprocessed && (on.has('refused-stream') || on.has('reset-before-request'))) return true
      return isFailureAskedFor(on)
    case 'timeout':
      return isFailureAskedFor(on)
    case 'unplaced':
      return false
  }
}

/** Whatever gives no answer gives a 503 or 504 in the end. */
function isFailureAskedFor(on: ReadonlySet<string>): boolean {
  return on.has('reset') || on.has('5xx') || on.has('gateway-error')
}

function isStatusAskedFor(on: ReadonlySet<string>, statuses: ReadonlySet<number>, status: number): boolean {
  if (statuses.has(status)) return true
  if (on.has('5xx') && status >= 500 && status <= 599) return true
  if (on.has('gateway-error') && status >= 502 && status <= 504) return true
  return on.has('retriable-4xx') && status === 409
}

const WORD_OF_GRPC_STATUS: ReadonlyMap<number, string> = new Map(
  Object.entries(GRPC_STATUS_OF).map(([word, status]) => [status, word]),
)

function isGrpcAskedFor(on: ReadonlySet<string>, grpcStatus: number | null): boolean {
  if (grpcStatus === null) return false
  const word = WORD_OF_GRPC_STATUS.get(grpcStatus)
  return word !== undefined && on.has(word)
}

/** SPEC ENVOY: by chance within a span that doubles; SPEC GATEWAY-API: never less than the route says. */
function waitMs(leastWaitMs: number, attempts: number, random: number): number {
  const base = leastWaitMs === 0 ? RETRY_BACKOFF_MS : leastWaitMs
  const longest = base * RETRY_BACKOFF_FACTOR
  const doubled = 2 ** Math.min(attempts - 1, 16)
  const wait =
    leastWaitMs === 0 ? random * base * (2 * doubled - 1) : leastWaitMs * doubled * (1 + random / 2)
  return Math.round(Math.min(longest, wait))
}

function no(why: NoRetry): RetryDecision {
  return { kind: 'no', why }
}
