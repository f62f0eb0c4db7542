// SPDX-License-Identifier: Apache-2.0
// How the requests of a rule are sent: how long, how often, in which session. Made once for each rule that is in force. Pure.
import type { HttpRule } from '../../proto/generated/sidestep/v1/routes_pb.js'
import { milliseconds } from '../upstream/duration.ts'
import { DEFAULT_RETRY_POLICY, type RetryPolicy, retryPolicy } from '../upstream/retry-policy.ts'
import { type SessionSettings, sessionSettings } from '../upstream/session-persistence.ts'

export interface Sending {
  readonly policy: RetryPolicy
  /** Of the whole request, and of one attempt; 0: any time. */
  readonly timeoutMs: number
  readonly attemptTimeoutMs: number
  /** null: none are kept. */
  readonly sessions: SessionSettings | null
}

/** Of what no rule is for. */
export const PLAIN_SENDING: Sending = {
  policy: DEFAULT_RETRY_POLICY,
  timeoutMs: 0,
  attemptTimeoutMs: DEFAULT_RETRY_POLICY.perTryTimeoutMs ?? 0,
  sessions: null,
}

const known = new WeakMap<HttpRule, Sending>()

export function sendingOf(rule: HttpRule): Sending {
  const kept = known.get(rule)
  if (kept !== undefined) return kept
  const { retry, timeouts, session } = rule
  const policy = retry === undefined ? DEFAULT_RETRY_POLICY : retryPolicy(retry)
  const sending = {
    policy,
    timeoutMs: milliseconds(timeouts?.request),
    attemptTimeoutMs: policy.perTryTimeoutMs ?? milliseconds(timeouts?.backendRequest),
    sessions: sessionSettings(session),
  }
  known.set(rule, sending)
  return sending
}
