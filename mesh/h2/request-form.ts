// SPDX-License-Identifier: Apache-2.0
// Requests have one form inside the mesh, whichever version of HTTP they came by and leave by: the host in :authority, lower case,
// and no Host; one cookie. Well-formed input (header-rules.ts). Pure; a list that has the form already is not copied.
import type { HeaderList } from '../http/header-list.ts'

/** An ordinary request as it came, in the form that everything behind the codec knows. */
export function receivedRequest(headers: HeaderList): HeaderList {
  let cookieCount = 0
  let host: string | undefined
  let authority: string | undefined
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i]
    if (name === 'cookie') cookieCount++
    else if (name === 'host') host = headers[i + 1]
    else if (name === ':authority') authority = headers[i + 1]
  }
  const named = (authority ?? host)?.toLowerCase()
  if (cookieCount < 2 && host === undefined && named === authority) return headers
  const result: string[] = []
  // SPEC RFC9113 §8.3.1: without :authority it is Host that names the target.
  if (authority === undefined && named !== undefined) result.push(':authority', named)
  let cookieAt = -1
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] ?? ''
    const value = headers[i + 1] ?? ''
    if (name === 'host') continue
    if (name === ':authority') result.push(name, named ?? '')
    else if (name !== 'cookie' || cookieAt < 0) {
      if (name === 'cookie') cookieAt = result.length + 1
      result.push(name, value)
    } else {
      // SPEC RFC9113 §8.2.3: crumbs are one field again before anybody but HTTP/2 sees them.
      result[cookieAt] = `${result[cookieAt]}; ${value}`
    }
  }
  return result
}

/** A request to be sent. */
export interface SentRequest {
  readonly headers: HeaderList
  /** The client had asked to change the protocol, which this request does not: it has no body. */
  readonly isUpgradeDropped: boolean
}

/** What HTTP/2 does not know is left out: Upgrade (SPEC RFC9113 §8.6), an :authority of nothing (§8.3.1). */
export function sentRequest(headers: HeaderList): SentRequest {
  let isUpgradeDropped = false
  let isWhole = true
  for (let i = 0; i + 1 < headers.length; i += 2) {
    if (headers[i] === 'upgrade') isUpgradeDropped = true
    else if (headers[i] === ':authority' && headers[i + 1] === '') isWhole = false
  }
  if (isWhole && !isUpgradeDropped) return { headers, isUpgradeDropped }
  const kept: string[] = []
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] ?? ''
    const value = headers[i + 1] ?? ''
    if (name !== 'upgrade' && !(name === ':authority' && value === '')) kept.push(name, value)
  }
  return { headers: kept, isUpgradeDropped }
}
