// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { exportRequest, nanoseconds } from '../../../mesh/tracing/otlp.ts'

t.test('times are text: numbers of JSON are not exact enough', async (t) => {
  t.equal(nanoseconds(1_767_323_045_006.25), '1767323045006250000')
  t.equal(nanoseconds(-1), '0000')
})

t.test('a document names its maker once; what is unknown of it is left out', async (t) => {
  const attributes = { 'k8s.pod.name': 'wp-0', 'k8s.node.name': '' }
  const text = exportRequest(['{"spanId":"1"}', '{"spanId":"2"}'], {
    ...{ serviceName: 'sidestep-waypoint', version: '1.2.3', attributes },
  })
  t.strictSame(JSON.parse(text), {
    resourceSpans: [
      {
        resource: {
          attributes: [
            { key: 'service.name', value: { stringValue: 'sidestep-waypoint' } },
            { key: 'service.version', value: { stringValue: '1.2.3' } },
            { key: 'k8s.pod.name', value: { stringValue: 'wp-0' } },
          ],
        },
        scopeSpans: [
          {
            scope: { name: 'sidestep.waypoint', version: '1.2.3' },
            spans: [{ spanId: '1' }, { spanId: '2' }],
          },
        ],
      },
    ],
  })
})
