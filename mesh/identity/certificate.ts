// SPDX-License-Identifier: Apache-2.0
// A workload's certificate with its key and its roots: what a handshake needs. Plain, structured-clonable data.
// Secret: it holds the private key. Assembled from a CA's answer, which is checked before anything uses it.
import { isRefusal, type Refusal, refuse } from '../errors/refusal.ts'
import { type CertificateFacts, parseCertificate } from './pki.ts'
import { parseSpiffeId } from './spiffe.ts'
import { parseTrustBundle } from './trust-bundle.ts'

const MAX_CHAIN = 16 // leaf, intermediates, roots: no real hierarchy is deeper

/** One identity's certificate. */
export interface WorkloadCertificate {
  readonly kind: 'workload-certificate'
  /** `spiffe://…` text. */
  readonly identity: string
  /** Leaf first, then intermediates; no root. One certificate per element. */
  readonly chainPem: readonly string[]
  /** Every root the workload trusts. */
  readonly rootsPem: readonly string[]
  /** Equal ids mean equal roots. */
  readonly trustBundleId: string
  /** PKCS#8. */
  readonly privateKeyPem: string
  readonly notBeforeMs: number
  readonly notAfterMs: number
  /** Decimal. */
  readonly serialNumber: string
}

/** What the workload holds itself and the CA's answer must fit. */
export interface CertificateOwner {
  readonly identity: string
  readonly privateKeyPem: string
  /** DER of the public key of `privateKeyPem`. */
  readonly publicKeyInfo: Uint8Array
}

/**
 * Reads a CA's answer: element 0 is the leaf, the last the bundle of roots, the rest intermediates. The leaf must
 * be for this key and identity, no CA, and valid now.
 */
export function assembleCertificate(
  owner: CertificateOwner,
  chain: readonly string[],
  nowMs: number,
): WorkloadCertificate | Refusal {
  // SPEC HBONE §2: fewer than two elements is an error, "no root certificate".
  if (chain.length < 2) return refuse('CERT_INVALID', 'the CA sent no root certificate')
  if (chain.length > MAX_CHAIN) return refuse('CERT_INVALID', 'the CA sent too long a chain')
  const facts: CertificateFacts[] = []
  for (const pem of chain.slice(0, -1)) {
    // SPEC HBONE §2: only the first PEM block of a leaf or intermediate element is read.
    const parsed = parseCertificate(pem)
    if (isRefusal(parsed)) return parsed
    facts.push(parsed)
  }
  const bundle = parseTrustBundle(chain[chain.length - 1] ?? '')
  if (isRefusal(bundle)) return bundle
  const leaf = facts[0]
  if (leaf === undefined) return refuse('CERT_INVALID', 'the CA sent no leaf')
  const wrong = checkLeaf(leaf, owner, nowMs)
  if (wrong !== undefined) return wrong
  return {
    kind: 'workload-certificate',
    identity: owner.identity,
    chainPem: facts.map(({ pem }) => pem),
    rootsPem: bundle.rootsPem,
    trustBundleId: bundle.id,
    privateKeyPem: owner.privateKeyPem,
    notBeforeMs: leaf.notBeforeMs,
    notAfterMs: leaf.notAfterMs,
    serialNumber: leaf.serialNumber,
  }
}

function checkLeaf(leaf: CertificateFacts, owner: CertificateOwner, nowMs: number): Refusal | undefined {
  if (leaf.isCa) return refuse('CERT_INVALID', 'the leaf is a CA certificate')
  if (Buffer.compare(leaf.publicKeyInfo, owner.publicKeyInfo) !== 0) {
    return refuse('CERT_INVALID', 'the leaf is for another key')
  }
  // SPEC HBONE §2: the first SPIFFE URI of the leaf must be the identity asked for.
  const identity = spiffeUriOf(leaf)
  if (identity !== owner.identity) {
    return refuse('IDENTITY_MISMATCH', `asked for ${owner.identity}, the CA sent ${identity ?? 'none'}`)
  }
  if (nowMs >= leaf.notAfterMs) return refuse('CERT_EXPIRED', 'the CA sent an expired certificate')
  if (nowMs < leaf.notBeforeMs) return refuse('CERT_NOT_YET_VALID', 'the certificate lies in the future')
  return undefined
}

/** The first URI name that is a workload identity, or undefined. */
export function spiffeUriOf(facts: CertificateFacts): string | undefined {
  return facts.uris.find((uri) => !isRefusal(parseSpiffeId(uri)))
}
