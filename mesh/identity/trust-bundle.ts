// SPDX-License-Identifier: Apache-2.0
// The roots a workload trusts. They come with its own certificate from the CA and from nowhere else.
import { createHash } from 'node:crypto'
import { isRefusal, type Refusal, refuse } from '../errors/refusal.ts'
import { parseCertificate, splitCertificates } from './pki.ts'

const MAX_ROOTS = 64 // several generations of several clusters; bounds what every handshake may have to search

/** Trusted roots. Equal `id` means equal roots, so that contexts built from them can be shared. */
export interface TrustBundle {
  readonly kind: 'trust-bundle'
  readonly id: string
  readonly rootsPem: readonly string[]
}

/** Reads a bundle: one text with one or more root certificates. Repeated roots count once. */
export function parseTrustBundle(pem: string): TrustBundle | Refusal {
  const roots = new Map<string, string>()
  const blocks = splitCertificates(pem)
  if (blocks.length === 0) return refuse('CERT_INVALID', 'no root certificate')
  if (blocks.length > MAX_ROOTS) return refuse('CERT_INVALID', `more than ${MAX_ROOTS} root certificates`)
  for (const block of blocks) {
    const facts = parseCertificate(block)
    if (isRefusal(facts)) return facts
    roots.set(facts.pem, facts.pem)
  }
  const rootsPem = [...roots.values()].sort()
  const id = createHash('sha256').update(rootsPem.join('')).digest('hex')
  return { kind: 'trust-bundle', id, rootsPem }
}
