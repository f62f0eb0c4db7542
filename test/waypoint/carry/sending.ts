// SPDX-License-Identifier: Apache-2.0
// What a rule says of sending, read once for each rule.
import { create } from '@bufbuild/protobuf'
import t from 'tap'
import { HttpRuleSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import { PLAIN_SENDING, sendingOf } from '../../../waypoint/carry/sending.ts'
import { DEFAULT_RETRY_POLICY } from '../../../waypoint/upstream/retry-policy.ts'

t.test('a rule that says nothing is sent as what no rule is for', (t) => {
  t.same(sendingOf(create(HttpRuleSchema, {})), PLAIN_SENDING)
  t.equal(PLAIN_SENDING.policy, DEFAULT_RETRY_POLICY)
  t.end()
})

t.test(
  'times are in milliseconds; the time of a try that retries name counts before that of backends',
  (t) => {
    const timeouts = { request: { seconds: 2n, nanos: 500_000_000 }, backendRequest: { nanos: 300_000_000 } }
    const plain = sendingOf(create(HttpRuleSchema, { timeouts }))
    t.equal(plain.timeoutMs, 2500)
    t.equal(plain.attemptTimeoutMs, 300)
    const tried = sendingOf(
      create(HttpRuleSchema, { timeouts, retry: { attempts: 2, perTry: { nanos: 100_000_000 } } }),
    )
    t.equal(tried.attemptTimeoutMs, 100)
    t.equal(tried.policy.attempts, 2)
    t.end()
  },
)

t.test('each rule is read once', (t) => {
  const rule = create(HttpRuleSchema, {
    session: { kind: { case: 'cookie', value: 'seat' } },
  })
  const sending = sendingOf(rule)
  t.equal(sending.sessions?.name, 'seat')
  t.equal(sendingOf(rule), sending)
  t.end()
})
