// SPDX-License-Identifier: Apache-2.0
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import t from 'tap'
import { FaultSchema } from '../../../proto/generated/sidestep/v1/routes_pb.js'
import { decideFault, type FaultDecision } from '../../../waypoint/filters/fault.ts'

const decided = (fault: MessageInitShape<typeof FaultSchema>, ...random: number[]): FaultDecision =>
  decideFault(create(FaultSchema, fault), () => random.shift() ?? 1)
const delay = { seconds: 1n, nanos: 500_000_000 }

t.test('a share waits, a share is aborted, and one does not depend on the other', async (t) => {
  const fault = { delay, delayMillionths: 500_000, abortStatus: 503, abortMillionths: 100_000 }
  t.same(decided(fault, 0.4, 0.05), { delayMs: 1500, abort: { kind: 'http', status: 503 } })
  t.same(decided(fault, 0.4, 0.1), { delayMs: 1500, abort: null })
  t.same(decided(fault, 0.5, 0.05), { delayMs: 0, abort: { kind: 'http', status: 503 } })
  t.same(decided(fault, 0.5, 0.5), { delayMs: 0, abort: null })
})

t.test('everybody, nobody', async (t) => {
  t.equal(decided({ delay, delayMillionths: 1_000_000 }, 0.999999, 1).delayMs, 1500)
  t.same(decided({ delay, abortStatus: 500 }, 0, 0), { delayMs: 0, abort: null })
  t.same(decided({ abortMillionths: 1_000_000 }, 0, 0).abort, null, 'nothing to abort with')
})

t.test('gRPC calls are aborted with a status of theirs', async (t) => {
  const fault = { abortGrpcStatus: 14, abortMillionths: 1_000_000 }
  t.same(decided(fault, 0).abort, { kind: 'grpc', status: 14 })
})

t.test('no wait is longer than an hour', async (t) => {
  const fault = { delay: { seconds: 1_000_000n, nanos: 0 }, delayMillionths: 1_000_000 }
  t.equal(decided(fault, 0, 1).delayMs, 3_600_000)
})
