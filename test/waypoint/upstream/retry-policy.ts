// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf'
import fc from 'fast-check'
import t from 'tap'
import { RetrySchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import {
  MAX_RETRIES_PER_REQUEST,
  RETRY_BACKOFF_FACTOR,
  RETRY_BACKOFF_MS,
} from '../../../waypoint/upstream/limits.ts'
import {
  type AttemptOutcome,
  DEFAULT_RETRY_POLICY,
  decideRetry,
  type NoRetry,
  type RetryFacts,
  type RetryPolicy,
  retryPolicy,
} from '../../../waypoint/upstream/retry-policy.ts'

const FACTS: RetryFacts = {
  ...{ attempts: 1, canReplay: true, isAnswerStarted: false, isIdempotent: false },
}
const on = (words: string, statuses: readonly number[] = [], attempts = 2): RetryPolicy =>
  retryPolicy(create(RetrySchema, { attempts, on: words.split(','), statuses: [...statuses] }))
const answer = (status: number, grpcStatus: number | null = null): AttemptOutcome => ({
  kind: 'answer',
  status,
  grpcStatus,
})
const reset = (isUnprocessed = false, isStale = false): AttemptOutcome => ({
  kind: 'reset',
  isUnprocessed,
  isStale,
})
const CONNECT: AttemptOutcome = { kind: 'connect-failure' }
const TIMEOUT: AttemptOutcome = { kind: 'timeout' }

function decide(
  policy: RetryPolicy,
  outcome: AttemptOutcome,
  facts: Partial<RetryFacts> = {},
): 'retry' | NoRetry {
  const decision = decideRetry(policy, outcome, { ...FACTS, ...facts }, 0.5)
  return decision.kind === 'retry' ? 'retry' : decision.why
}

t.test('what each word has tried again', async (t) => {
  const outcomes: Readonly<Record<string, AttemptOutcome>> = {
    200: answer(200),
    409: answer(409),
    429: answer(429),
    500: answer(500),
    503: answer(503),
    599: answer(599),
    connect: CONNECT,
    reset: reset(),
    timeout: TIMEOUT,
    cancelled: answer(200, 1),
    deadline: answer(200, 4),
    exhausted: answer(200, 8),
    internal: answer(200, 13),
    unavailable: answer(200, 14),
    ok: answer(200, 0),
  }
  const table: Readonly<Record<string, string>> = {
    '5xx': '500 503 599 connect reset timeout',
    'gateway-error': '503 connect reset timeout',
    reset: 'connect reset timeout',
    'reset-before-request': 'connect',
    'connect-failure': 'connect',
    'refused-stream': '',
    'retriable-4xx': '409',
    'retriable-status-codes': '',
    cancelled: 'cancelled',
    'deadline-exceeded': 'deadline',
    'resource-exhausted': 'exhausted',
    internal: 'internal',
    unavailable: 'unavailable',
    'no-such-word': '',
    '': '',
  }
  for (const [word, expected] of Object.entries(table)) {
    const found = Object.entries(outcomes).filter(([, outcome]) => decide(on(word), outcome) === 'retry')
    t.same(found.map(([name]) => name).sort(), expected.split(' ').filter(Boolean).sort(), word)
  }
})

t.test('statuses by number, several words together', async (t) => {
  t.equal(decide(on('', [418, 503]), answer(418)), 'retry')
  t.equal(decide(on('', [418, 503]), answer(502)), 'not-asked')
  t.equal(decide(on('retriable-4xx,unavailable'), answer(409)), 'retry')
  t.equal(decide(on('retriable-4xx,unavailable'), answer(200, 14)), 'retry')
})

t.test('what nobody has looked at is asked again without being asked to, a few times', async (t) => {
  const none = on('', [], 0)
  t.equal(decide(none, reset(true)), 'retry')
  t.equal(decide(none, reset(true), { attempts: 2 }), 'retry')
  t.equal(decide(none, reset(true), { attempts: 3 }), 'attempts')
  t.equal(decide(none, reset(false, true)), 'not-asked', 'a POST may have been done')
  t.equal(decide(none, reset(false, true), { isIdempotent: true }), 'retry')
  t.equal(decide(none, reset(false, false), { isIdempotent: true }), 'not-asked')
  t.equal(decide(none, CONNECT), 'not-asked')
  t.equal(decide(DEFAULT_RETRY_POLICY, CONNECT), 'retry')
  t.equal(decide(DEFAULT_RETRY_POLICY, answer(503)), 'not-asked')
})

t.test(
  'never after the answer has begun, without the body, attempts, or beyond our own limits',
  async (t) => {
    const all = on('5xx,reset,connect-failure', [200])
    const outcomes = fc.oneof(
      fc.constantFrom<AttemptOutcome>(CONNECT, TIMEOUT, { kind: 'unplaced' }),
      fc.record({ kind: fc.constant('reset' as const), isUnprocessed: fc.boolean(), isStale: fc.boolean() }),
      fc.record({
        kind: fc.constant('answer' as const),
        status: fc.integer({ min: 200, max: 599 }),
        grpcStatus: fc.option(fc.nat(16)),
      }),
    )
    const facts = fc.record({
      attempts: fc.integer({ min: 1, max: 12 }),
      canReplay: fc.boolean(),
      isAnswerStarted: fc.boolean(),
      isIdempotent: fc.boolean(),
    })
    let retried = 0
    fc.assert(
      fc.property(
        outcomes,
        facts,
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (outcome, given, random) => {
          const decision = decideRetry(all, outcome, given, random)
          if (decision.kind === 'no') return true
          retried++
          const isAllowed = given.canReplay && !given.isAnswerStarted && given.attempts <= 2
          return isAllowed && outcome.kind !== 'unplaced' && decision.afterMs >= 0
        },
      ),
      { numRuns: 2_000 },
    )
    t.ok(retried > 20, `${retried} were tried again`)
    t.equal(decide(all, TIMEOUT, { isAnswerStarted: true }), 'answered')
    t.equal(decide(all, TIMEOUT, { canReplay: false }), 'body')
    t.equal(decide(all, TIMEOUT, { attempts: 3 }), 'attempts')
    t.equal(decide(all, { kind: 'unplaced' }), 'unplaced')
  },
)

t.test('waits double, are spread by chance, and end', async (t) => {
  const wait = (policy: RetryPolicy, attempts: number, random: number): number => {
    const decision = decideRetry(policy, TIMEOUT, { ...FACTS, attempts }, random)
    return decision.kind === 'retry' ? decision.afterMs : -1
  }
  const plain = on('reset', [], 10)
  t.same(
    [0, 0.5, 0.9999].map((random) => wait(plain, 1, random)),
    [0, 13, 25],
  )
  t.same(
    [1, 2, 3, 4, 9].map((attempts) => wait(plain, attempts, 0.9999)),
    [25, 75, 175, 250, 250],
  )
  t.equal(250, RETRY_BACKOFF_MS * RETRY_BACKOFF_FACTOR)
  const asked = { ...plain, leastWaitMs: 100 }
  t.same(
    [1, 2, 3, 5, 9].map((attempts) => wait(asked, attempts, 0)),
    [100, 200, 400, 1_000, 1_000],
  )
  t.equal(wait(asked, 1, 0.9999), 150)
  const safe = decideRetry(asked, reset(true), FACTS, 0.9)
  t.same(safe, { kind: 'retry', afterMs: 0 })
})

t.test('what a rule says is read, within bounds', async (t) => {
  const read = retryPolicy(
    create(RetrySchema, {
      ...{ attempts: 4_000_000_000, statuses: [503, 503], on: ['5xx', 'constructor', 'reset'] },
      ...{ perTry: { seconds: 2n, nanos: 500_000_000 }, backoff: { nanos: 5_000_000 } },
    }),
  )
  t.same([read.attempts, read.perTryTimeoutMs, read.leastWaitMs], [MAX_RETRIES_PER_REQUEST, 2_500, 5])
  t.same([[...read.on], [...read.statuses]], [['5xx', 'reset'], [503]])
  t.equal(retryPolicy(create(RetrySchema, {})).perTryTimeoutMs, null)
})
