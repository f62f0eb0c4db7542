// SPDX-License-Identifier: Apache-2.0
// What the waypoint says to a service of a request: where it came from and who sent it. Whatever a caller says of that itself
// is not believed, but for the addresses before its own. SPEC ENVOY XFF, XFCC (SANITIZE_SET). Pure.
import type { HeaderList } from '../../mesh/http/header-list.ts'

/** Who sent it, as its tunnel says and proves. */
export interface Sender {
  readonly ip: string
  /** SPIFFE id; '': plain text, diverted. */
  readonly identity: string
}

/** Fields that are the waypoint's to say. */
const OURS: ReadonlySet<string> = new Set([
  'x-forwarded-client-cert',
  'x-forwarded-proto',
  'x-envoy-attempt-count',
  'x-sidestep-diverted-for',
])

/** The request with its path in one spelling and with our fields. `own`: identity of the waypoint; `requestId` for one without. */
export function forwardedHeaders(
  headers: HeaderList,
  target: { readonly path: string; readonly query: string },
  sender: Sender,
  own: string,
  requestId: () => string,
): string[] {
  const result: string[] = []
  let hasRequestId = false
  let forwardedFor = ''
  let scheme = 'http'
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] ?? ''
    const value = headers[i + 1] ?? ''
    if (name === ':path') result.push(name, target.path + target.query)
    else if (name === 'x-forwarded-for')
      forwardedFor = forwardedFor === '' ? value : `${forwardedFor},${value}`
    else if (!OURS.has(name)) {
      if (name === 'x-request-id') hasRequestId = true
      else if (name === ':scheme') scheme = value
      result.push(name, value)
    }
  }
  result.push('x-forwarded-for', forwardedFor === '' ? sender.ip : `${forwardedFor},${sender.ip}`)
  result.push('x-forwarded-proto', scheme)
  if (sender.identity !== '') result.push('x-forwarded-client-cert', `By=${own};URI=${sender.identity}`)
  if (!hasRequestId) result.push('x-request-id', requestId())
  return result
}
