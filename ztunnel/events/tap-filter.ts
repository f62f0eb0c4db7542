// SPDX-License-Identifier: Apache-2.0
// Which events a reader of the tap wants to see. Pure.
import { isReasonCode } from '../../mesh/errors/reasons.ts'
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { isConnectionRecord, parseLine } from './event-line.ts'

/** Longest name, address or identity that is looked for. */
const MAX_FILTER_LENGTH = 512

/** '' asks for nothing. */
export interface TapFilter {
  /** `namespace/name`, or a name. */
  readonly pod: string
  /** The other end: `namespace/name`, a name, an address, an identity. */
  readonly peer: string
  /** A reason code. */
  readonly reason: string
}

/** Reads `pod`, `peer` and `reason` of a query. */
export function parseTapFilter(query: URLSearchParams): TapFilter | Refusal {
  const [pod = '', peer = '', reason = ''] = ['pod', 'peer', 'reason'].map((name) => query.get(name) ?? '')
  if (pod.length > MAX_FILTER_LENGTH || peer.length > MAX_FILTER_LENGTH)
    return refuse('REQUEST_INVALID', `names have ${MAX_FILTER_LENGTH} characters at most`)
  if (reason !== '' && !isReasonCode(reason)) return refuse('REQUEST_INVALID', 'there is no such reason code')
  return { pod, peer, reason }
}

/** Whether an event of a pod, `namespace/name`, is wanted. Cheap refusals come first: most events are others'. */
export function isWanted({ pod, peer, reason }: TapFilter, owner: string, line: string): boolean {
  if (pod !== '' && pod !== owner && !owner.endsWith(`/${pod}`)) return false
  if (reason !== '' && !(isConnectionRecord(line) && line.includes(`,"reason":"${reason}",`))) return false
  return peer === '' || isPeer(peer, line)
}

function isPeer(peer: string, line: string): boolean {
  const name = peer.slice(peer.lastIndexOf('/') + 1)
  if (!line.includes(name)) return false // reading costs more than looking
  const record = parseLine(line)
  if (record === null || record.direction === undefined) return false
  const side = record.direction === 'outbound' ? 'dst' : 'src'
  const [workload, namespace] = [record[`${side}.workload`], record[`${side}.namespace`]]
  const addresses = [record[`${side}.addr`], ...(side === 'dst' ? [record['dst.hbone_addr']] : [])]
  return (
    [workload, `${namespace}/${workload}`, record[`${side}.identity`], record['dst.service']].includes(
      peer,
    ) || addresses.some((each) => each === peer || hostOf(each) === peer)
  )
}

function hostOf(address: unknown): string {
  return typeof address !== 'string' ? '' : address.replace(/:\d+$/, '').replace(/^\[|\]$/g, '')
}
