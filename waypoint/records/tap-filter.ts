// SPDX-License-Identifier: Apache-2.0
// Which requests a reader of the tap wants to see: asked in workers, before anything is written, and for each reader in main. Pure.
import { isReasonCode } from '../../mesh/errors/reasons.ts'
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'

/** Longest path or name that is looked for. */
const MAX_FILTER_LENGTH = 512

/** '' asks for nothing. */
export interface TapFilter {
  /** Beginning of the path, without query. */
  readonly path: string
  /** `404`, or `4xx`. */
  readonly status: string
  /** The caller: its identity, address, namespace, or `<namespace>/<service account>`. */
  readonly source: string
  /** A reason code. */
  readonly reason: string
}

/** What filters look at. */
export interface TappedRequest {
  readonly path: string
  readonly status: number
  readonly reason: string
  readonly ip: string
  readonly identity: string
  readonly namespace: string
}

/** Reads `path`, `status`, `source` and `reason` of a query. */
export function parseTapFilter(query: URLSearchParams): TapFilter | Refusal {
  const [path = '', status = '', source = '', reason = ''] = ['path', 'status', 'source', 'reason'].map(
    (name) => query.get(name) ?? '',
  )
  if (path.length > MAX_FILTER_LENGTH || source.length > MAX_FILTER_LENGTH)
    return refuse('REQUEST_INVALID', `texts have ${MAX_FILTER_LENGTH} characters at most`)
  if (path !== '' && !path.startsWith('/')) return refuse('REQUEST_INVALID', 'a path begins with /')
  if (!/^([1-5](\d\d|xx))?$/.test(status))
    return refuse('REQUEST_INVALID', 'a status is three digits, or 1xx to 5xx')
  if (reason !== '' && !isReasonCode(reason)) return refuse('REQUEST_INVALID', 'there is no such reason code')
  return { path, status, source, reason }
}

/** Whether a reader wants a request. */
export function isWanted({ path, status, source, reason }: TapFilter, request: TappedRequest): boolean {
  return (
    request.path.startsWith(path) &&
    (reason === '' || reason === request.reason) &&
    (status === '' || isStatus(status, request.status)) &&
    (source === '' || isSource(source, request))
  )
}

function isStatus(wanted: string, status: number): boolean {
  return wanted.endsWith('xx') ? Math.trunc(status / 100) === Number(wanted[0]) : status === Number(wanted)
}

function isSource(wanted: string, { ip, identity, namespace }: TappedRequest): boolean {
  if (wanted === ip || wanted === identity || wanted === namespace) return true
  const slash = wanted.indexOf('/')
  return slash > 0 && identity.endsWith(`/ns/${wanted.slice(0, slash)}/sa/${wanted.slice(slash + 1)}`)
}

/** What a record tells of its request; null for a text that is none: a ring may have cut it. */
export function readTapped(record: string): TappedRequest | null {
  try {
    const fields = JSON.parse(record) as Readonly<Record<string, unknown>> // as: a record of ours, or an error
    const text = (name: string): string => String(fields[name] ?? '')
    return {
      ...{ path: text('path'), status: Number(fields.status ?? 0), reason: text('reason') },
      ip: text('src.addr'),
      ...{ identity: text('src.identity'), namespace: text('src.namespace') },
    }
  } catch {
    return null
  }
}
