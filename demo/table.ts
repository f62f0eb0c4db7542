// SPDX-License-Identifier: Apache-2.0
// The demo's live table: one line per connection record. Pure text, at most 110 columns as long as names are short.
import type { RefusalExplanation } from './explanation.ts'
import type { DemoRecord } from './records.ts'

/** How a line is to be coloured. */
export type Tone = 'encrypted' | 'plain' | 'refused'

const WIDTHS = [12, 5, 4, 22, 22, 10, 7, 7] as const
const HEADINGS = ['TIME', 'NODE', 'WAY', 'FROM', 'TO', 'ON WIRE', 'REQUEST', 'ANSWER', 'RESULT']

function line(cells: readonly string[]): string {
  return cells
    .map((cell, index) => cell.padEnd(WIDTHS[index] ?? 0))
    .join(' ')
    .trimEnd()
}

/** `spiffe://cluster.local/ns/shop/sa/front` → `shop/front`. */
function shortIdentity(identity: string): string {
  const match = /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(identity)
  return match === null ? identity : `${match[1]}/${match[2]}`
}

function party(identity: string, address: string): string {
  if (identity !== '') return shortIdentity(identity)
  return `${address.slice(0, address.lastIndexOf(':'))} (nobody)`
}

/** The column headings, and what they mean. */
export function tableHead(): string {
  return `${line(HEADINGS)}
             FROM and TO are identities: shop/front = spiffe://cluster.local/ns/shop/sa/front. REQUEST and
             ANSWER are bytes. Every connection through the mesh is told once by each node that carried it.`
}

/** One record. */
export function tableRow(record: DemoRecord): string {
  const isOutbound = record.direction === 'outbound'
  const result = record.policy === '' ? record.reason : `${record.reason} by ${record.policy}`
  return line([
    record.time.slice(11, 23),
    record.node,
    isOutbound ? 'out' : 'in',
    party(record.sourceIdentity, record.sourceAddress),
    party(record.destinationIdentity, record.destinationAddress),
    record.transport === 'HBONE' ? 'mTLS' : 'plain text',
    String(isOutbound ? record.bytesSent : record.bytesReceived),
    String(isOutbound ? record.bytesReceived : record.bytesSent),
    result,
  ])
}

/** The colour of a record. */
export function toneOf(record: DemoRecord): Tone {
  if (record.reason !== 'OK') return 'refused'
  return record.transport === 'HBONE' ? 'encrypted' : 'plain'
}

/** Why a call was refused, as lines under its record. */
export function explanationText({ code, policy, reason, fix }: RefusalExplanation): string {
  return [
    `             code    ${code}`,
    `             policy  ${policy === '' ? 'none decided alone' : policy}`,
    `             why     ${reason}`,
    `             fix     ${fix}`,
  ].join('\n')
}
