// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { refuse } from '../../../mesh/errors/refusal.ts'
import { refusedAnswer } from '../../../waypoint/carry/generated-answer.ts'

t.test('an answer of ours says why, in a header and in a line', async (t) => {
  const { status, headers, body } = refusedAnswer(refuse('NO_ENDPOINT', 'shop/cart'), false)
  t.equal(status, 503)
  t.same(headers.slice(0, 4), [':status', '503', 'content-type', 'text/plain'])
  t.ok(headers.includes('NO_ENDPOINT'))
  t.equal(headers[headers.indexOf('content-length') + 1], String(body?.length))
  t.notOk(Buffer.from(body ?? []).includes('shop/cart'), 'details are for records')
})

t.test('a policy’s refusal is 403 here', async (t) => {
  t.equal(refusedAnswer(refuse('POLICY_DENY', ''), false).status, 403)
})

t.test('a call of gRPC gets trailers only', async (t) => {
  const { status, headers, body } = refusedAnswer(refuse('NO_ENDPOINT', 'é'), true)
  t.equal(status, 200)
  t.equal(body, null)
  t.same(headers.slice(0, 6), [':status', '200', 'content-type', 'application/grpc', 'grpc-status', '14'])
})

t.test('a fault answers with what it says, to each in his words', async (t) => {
  const fault = refuse('FAULT_INJECTED', '')
  t.equal(refusedAnswer(fault, false, { kind: 'http', status: 418 }).status, 418)
  const grpcStatus = (headers: readonly string[]): string | undefined =>
    headers[headers.indexOf('grpc-status') + 1]
  t.equal(grpcStatus(refusedAnswer(fault, false, { kind: 'grpc', status: 7 }).headers), '7')
  t.equal(grpcStatus(refusedAnswer(fault, true, { kind: 'http', status: 404 }).headers), '12')
})
