// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { formatDnsLabels } from '../../../mesh/telemetry/dns-labels.ts'

t.test('labels are Istio’s, then how it ended; what is not known is said', async (t) => {
  const common = { queryType: 'a', protocol: 'udp', result: 'failed', reason: 'DNS_UPSTREAM' } as const
  t.equal(
    formatDnsLabels({ ...common, source: null }),
    'request_query_type="a",request_protocol="udp",source_canonical_service="unknown",' +
      'source_canonical_revision="unknown",result="failed",reason="DNS_UPSTREAM"',
  )
})
