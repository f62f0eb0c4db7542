// SPDX-License-Identifier: Apache-2.0
// Decides what a certificate request gets. Pure but for the cryptography: hostile input, bounded, never throws. The
// identity is the one the caller was authorised for; of the request only the key is used.
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { BACKDATE_MS, DEFAULT_TTL_SECONDS, MAX_TTL_SECONDS } from '../../mesh/identity/lifetimes.ts'
import { describePublicKey, parseCertificateRequest } from '../../mesh/identity/pki.ts'
import { parseSpiffeId } from '../../mesh/identity/spiffe.ts'
import type { SigningPlan } from './signing.ts'

/** Longest request, in PEM: RSA-4096 with one name needs 2 KiB. */
export const MAX_CSR_BYTES = 8 * 1024

/** RSA below 2,048 bits is weak, above 4,096 a burden on every handshake. */
const ACCEPTED_KEYS = new Set(['P-256', 'P-384', 'RSA-2048', 'RSA-3072', 'RSA-4096'])

/** What is asked, and for whom it was allowed. */
export interface SignRequest {
  /** `spiffe://…`: from attestation, never from the request. */
  readonly authorisedIdentity: string
  readonly trustDomain: string
  readonly csrPem: string
  /** 0 or less: the default. */
  readonly ttlSeconds: number
  readonly nowMs: number
  /** Default: 90 days. */
  readonly maxTtlSeconds?: number
}

/** The certificate to sign, or why there will be none. */
export async function decideSigning(request: SignRequest): Promise<SigningPlan | Refusal> {
  const { authorisedIdentity, csrPem, nowMs, trustDomain } = request
  const id = parseSpiffeId(authorisedIdentity)
  if (isRefusal(id)) return refuse('IDENTITY_REFUSED', id.detail)
  if (id.trustDomain !== trustDomain)
    return refuse('IDENTITY_REFUSED', `this CA signs for ${trustDomain} only`)
  const lifetimeMs = lifetimeOf(request)
  if (isRefusal(lifetimeMs)) return lifetimeMs
  const publicKeyInfo = await provenKeyOf(csrPem, authorisedIdentity)
  if (isRefusal(publicKeyInfo)) return publicKeyInfo
  return {
    identity: authorisedIdentity,
    publicKeyInfo,
    csrPem,
    // SPEC HBONE §2: notBefore = now - 2 min.
    notBeforeMs: nowMs - BACKDATE_MS,
    notAfterMs: nowMs + lifetimeMs,
  }
}

function lifetimeOf({ ttlSeconds, maxTtlSeconds = MAX_TTL_SECONDS }: SignRequest): number | Refusal {
  // SPEC HBONE §2: zero or less means the default, more than the longest is an error.
  if (!(ttlSeconds > 0)) return Math.min(DEFAULT_TTL_SECONDS, maxTtlSeconds) * 1000
  if (ttlSeconds > maxTtlSeconds) return refuse('CERT_LIFETIME', `at most ${maxTtlSeconds} s`)
  return Math.ceil(ttlSeconds) * 1000
}

async function provenKeyOf(csrPem: string, identity: string): Promise<Uint8Array | Refusal> {
  if (csrPem.length > MAX_CSR_BYTES) return refuse('CSR_INVALID', 'too large')
  if (csrPem.split('-----BEGIN ').length !== 2) return refuse('CSR_INVALID', 'not one PEM block')
  const request = await parseCertificateRequest(csrPem) // verifies the signature: the asker holds the key
  if (isRefusal(request)) return refuse('CSR_INVALID', request.detail)
  const kind = describePublicKey(request.publicKeyInfo)
  if (kind === undefined || !ACCEPTED_KEYS.has(kind))
    return refuse('CSR_INVALID', `a key of the kind ${kind ?? 'unknown'} is not accepted`)
  // What the request says of itself grants nothing; that it contradicts shows a confused or lying caller.
  const other = request.uris.find((uri) => uri !== identity)
  if (other !== undefined) return refuse('IDENTITY_REFUSED', 'the request names another identity')
  return request.publicKeyInfo
}
