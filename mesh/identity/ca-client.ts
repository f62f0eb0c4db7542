// SPDX-License-Identifier: Apache-2.0
// What the product asks of a CA, wherever it runs: in this process (EmbeddedAuthority) or behind gRPC.

/** Signs certificates for workloads. */
export interface CertificateIssuer {
  /**
   * A certificate for `identity` over the key of `csrPem`. The answer is a chain of PEM texts: leaf first, then
   * intermediates one per element, last the bundle of roots. The lifetime may be shorter than asked.
   * @throws MeshError CERT_UNAVAILABLE (retryable) when the CA cannot answer, CERT_INVALID when it refuses.
   */
  issue(identity: string, csrPem: string, ttlSeconds: number): Promise<readonly string[]>
}
