// SPDX-License-Identifier: Apache-2.0
// What a reason code is to a client of HTTP, and to one of gRPC.
import t from 'tap'
import { REASONS, type ReasonCode } from '../../../mesh/errors/reasons.ts'
import { headerValue } from '../../../mesh/http/header-list.ts'
import { cutShort, reasonAnswer, upstreamReason } from '../../../mesh/http/reason-answer.ts'
import { get } from '../../support/http1-pair.ts'

const CALL = get('/shop.Cart/Get', 'POST', 'content-type', 'application/grpc+proto', 'te', 'trailers')

t.test('every reason has its status, and its status of gRPC, in answers of one list', async (t) => {
  // as: the keys of the table are the codes
  for (const code of Object.keys(REASONS) as ReasonCode[]) {
    const { httpStatus, grpcStatus } = REASONS[code]
    t.same(reasonAnswer(get('/'), code), [':status', String(httpStatus), 'x-sidestep-reason', code])
    const answer = reasonAnswer(CALL, code)
    t.same([answer[0], answer[1]], [':status', '200'])
    t.equal(headerValue(answer, 'content-type'), 'application/grpc')
    t.equal(headerValue(answer, 'grpc-status'), String(grpcStatus))
    t.equal(headerValue(answer, 'grpc-message'), code)
    t.equal(headerValue(answer, 'x-sidestep-reason'), code)
  }
  t.equal(headerValue(reasonAnswer(CALL, 'DRAIN', '100 % ü'), 'grpc-message'), '100 %25 %C3%BC')
})

t.test(
  'what a service breaks is not its caller’s fault, and half an answer is not a whole one',
  async (t) => {
    t.same(upstreamReason({ code: 'H2_PROTOCOL', detail: 'x' }), {
      code: 'UPSTREAM_PROTOCOL',
      detail: 'H2_PROTOCOL: x',
    })
    t.same(upstreamReason({ code: 'HTTP_BODY_LENGTH', detail: '' }).code, 'UPSTREAM_PROTOCOL')
    const own = { code: 'PEER_RESET', detail: 'x' } as const
    t.equal(upstreamReason(own), own)
    t.equal(cutShort(own), own)
    t.same(cutShort({ code: 'STREAM_RESET', detail: 'x' }), { code: 'PEER_RESET', detail: 'STREAM_RESET: x' })
  },
)
