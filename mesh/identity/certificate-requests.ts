// SPDX-License-Identifier: Apache-2.0
// The two steps of a certificate request that need cryptography and parsers of certificates; between them is the CA.
// An interface, because a process may do them in a thread of their own.
import { MeshError } from '../errors/mesh-error.ts'
import { isRefusal } from '../errors/refusal.ts'
import { assembleCertificate, type CertificateOwner, type WorkloadCertificate } from './certificate.ts'
import { createCertificateRequest, exportPrivateKey, generateKeyPair, publicKeyInfoOf } from './pki.ts'

/** A request that was begun: what stays here, and what goes to the CA. Holds a private key. */
export interface BegunRequest {
  readonly owner: CertificateOwner
  readonly csrPem: string
}

/** Begins and finishes requests. */
export interface CertificateRequests {
  /** A fresh key and its request. */
  begin(identity: string): Promise<BegunRequest>
  /**
   * Reads the CA's answer (see assembleCertificate).
   * @throws MeshError with the reason when the answer does not fit the request.
   */
  finish(owner: CertificateOwner, chain: readonly string[], nowMs: number): Promise<WorkloadCertificate>
}

/** Does both in the caller's thread. */
export const certificateRequests: CertificateRequests = {
  async begin(identity) {
    // SPEC HBONE §2: a fresh key for every request.
    const pair = await generateKeyPair()
    const [csrPem, privateKeyPem, publicKeyInfo] = await Promise.all([
      createCertificateRequest(pair, identity),
      exportPrivateKey(pair.privateKey),
      publicKeyInfoOf(pair),
    ])
    return { owner: { identity, privateKeyPem, publicKeyInfo }, csrPem }
  },

  async finish(owner, chain, nowMs) {
    const certificate = assembleCertificate(owner, chain, nowMs)
    if (isRefusal(certificate)) throw new MeshError(certificate.code, { detail: certificate.detail })
    return certificate
  },
}
