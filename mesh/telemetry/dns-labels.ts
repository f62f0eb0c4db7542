// SPDX-License-Identifier: Apache-2.0
// Labels of DNS questions: Istio's (wire-protocols §7.3), then how the question ended.
import { type LabelledWorkload, quotedLabel } from './traffic-labels.ts'

/** One label set. */
export interface DnsLabels {
  /** Lower case: `a`, `aaaa`, …, `other`. */
  readonly queryType: string
  readonly protocol: 'udp' | 'tcp'
  readonly source: LabelledWorkload | null
  readonly result: 'answered' | 'forwarded' | 'failed'
  /** A reason code; `OK` unless it failed. */
  readonly reason: string
}

/** The label set as exposition text, without braces. */
export function formatDnsLabels({ queryType, protocol, source, result, reason }: DnsLabels): string {
  return [
    quotedLabel('request_query_type', queryType),
    quotedLabel('request_protocol', protocol),
    quotedLabel('source_canonical_service', source?.canonicalName),
    quotedLabel('source_canonical_revision', source?.canonicalRevision),
    quotedLabel('result', result),
    quotedLabel('reason', reason),
  ].join(',')
}
