// SPDX-License-Identifier: Apache-2.0
import { create, toBinary } from '@bufbuild/protobuf'
import fc from 'fast-check'
import t from 'tap'
import { REASONS } from '../../../mesh/errors/reasons.ts'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { type Edge, edgeKey } from '../../../mesh/telemetry/edge.ts'
import {
  decodeEdgeReport,
  type EdgeReport,
  encodeEdgeReport,
  MAX_REPORTED_EDGES,
} from '../../../mesh/telemetry/edge-report.ts'
import {
  type Edge_Reporter,
  EdgeReportSchema,
  EdgeSchema,
} from '../../../proto/generated/sidestep/v1/edges_pb.js'

const text = fc.stringMatching(/^[!-~]{0,40}$/)
const party = fc.option(fc.record({ namespace: text, workload: text, identity: text }), { nil: null })
const count = fc.nat({ max: Number.MAX_SAFE_INTEGER })
const edge: fc.Arbitrary<Edge> = fc.record({
  ...{ reporter: fc.constantFrom('source', 'destination'), source: party, destination: party },
  ...{ service: text, isPlaintext: fc.boolean(), reason: fc.constantFrom(...Object.keys(REASONS)) },
  ...{ opened: count, failed: count, receivedBytes: count, sentBytes: count },
})
const GOOD: Edge = {
  ...{ reporter: 'source', source: null, destination: null, service: '', isPlaintext: true, reason: 'OK' },
  ...{ opened: 1, failed: 0, receivedBytes: 0, sentBytes: 0 },
}

t.test('a report arrives as it was sent', async () => {
  fc.assert(
    fc.property(fc.array(edge, { maxLength: 20 }), fc.nat(), (edges, omitted) => {
      const report: EdgeReport = { edges, omitted }
      const read = decodeEdgeReport(encodeEdgeReport(report))
      t.same(read, report)
    }),
    { numRuns: 50 },
  )
})

t.test('edges are the same when all their labels are', async (t) => {
  fc.assert(
    fc.property(edge, edge, (left, right) => {
      const labels = ({ reporter, source, destination, service, isPlaintext, reason }: Edge): string =>
        JSON.stringify({ reporter, source, destination, service, isPlaintext, reason })
      return (edgeKey(left) === edgeKey(right)) === (labels(left) === labels(right))
    }),
  )
  t.not(edgeKey(GOOD), edgeKey({ ...GOOD, reason: 'DRAIN' }))
})

t.test('what is no report is refused as a whole, whatever it is', async (t) => {
  const refusal = (edges: readonly Edge[]): string => {
    const read = decodeEdgeReport(encodeEdgeReport({ edges, omitted: 0 }))
    return isRefusal(read) ? `${read.code} ${read.detail}` : 'taken'
  }
  t.equal(refusal([GOOD]), 'taken')
  t.equal(refusal(Array(MAX_REPORTED_EDGES).fill(GOOD)), 'taken')
  t.match(refusal(Array(MAX_REPORTED_EDGES + 1).fill(GOOD)), /^REQUEST_INVALID 1001 edges/)
  for (const service of ['\u001b[2J', 'a b', 'ä', 'x'.repeat(513)])
    t.match(refusal([{ ...GOOD, service }]), /a name that is none/, JSON.stringify(service.slice(0, 9)))
  t.match(
    refusal([{ ...GOOD, source: { namespace: '\n', workload: '', identity: '' } }]),
    /a name that is none/,
  )
  t.match(refusal([{ ...GOOD, reason: 'toString' }]), /unknown reason/)
  const huge = create(EdgeSchema, { reason: 'OK', opened: 1n << 63n })
  const odd = create(EdgeSchema, { reason: 'OK', reporter: 7 as Edge_Reporter }) // as: a number of a later version
  for (const wire of [huge, odd])
    t.ok(isRefusal(decodeEdgeReport(toBinary(EdgeReportSchema, create(EdgeReportSchema, { edges: [wire] })))))
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const read = decodeEdgeReport(bytes)
      return isRefusal(read) ? read.code === 'REQUEST_INVALID' : read.edges.length >= 0
    }),
  )
})
