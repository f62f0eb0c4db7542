// SPDX-License-Identifier: Apache-2.0
// Who a peer of a tunnel is, by the names of its verified certificate. Pure.
import { isRefusal, type Refusal, refuse } from '../errors/refusal.ts'
import { parseSpiffeId, type SpiffeId } from './spiffe.ts'

/** The first SPIFFE id among the names of a certificate; null when there is none. */
export function firstSpiffeId(uris: readonly string[]): SpiffeId | null {
  for (const uri of uris) {
    const id = parseSpiffeId(uri)
    if (!isRefusal(id)) return id
  }
  return null
}

/** SPEC wire-protocols §3.1: one SPIFFE id of the client must be of the server's own trust domain. */
export function checkTrustDomain(own: SpiffeId | null, uris: readonly string[]): Refusal | null {
  if (firstSpiffeId(uris) === null) return refuse('CERT_INVALID', 'the certificate carries no SPIFFE id')
  const isOurs = uris.some((uri) => {
    const id = parseSpiffeId(uri)
    return !isRefusal(id) && id.trustDomain === own?.trustDomain
  })
  return isOurs ? null : refuse('TRUST_DOMAIN', `${uris.join(' ')} is not of ${own?.trustDomain}`)
}
