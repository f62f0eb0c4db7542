// SPDX-License-Identifier: Apache-2.0
// What is signed, and by whom: the seam between the decision (sign-request.ts) and the CAs that can carry it out.

/** A leaf that shall exist. Everything in it was decided; nothing is taken from the request but its key. */
export interface SigningPlan {
  readonly identity: string
  /** DER of the key the asker proved to hold. */
  readonly publicKeyInfo: Uint8Array
  /** For CAs elsewhere, which want to see the proof themselves. */
  readonly csrPem: string
  readonly notBeforeMs: number
  /** A CA shortens this to its own end. */
  readonly notAfterMs: number
}

/** A CA: our own key, Istio's files, or one behind the network. */
export interface SigningAuthority {
  /** For people: `root`, `cacerts`, `istio`, `vault`. */
  readonly name: string
  /**
   * Signs. Leaf first, then intermediates one per element, all roots in the last element (SPEC HBONE §2).
   * @throws MeshError CERT_EXPIRED, CERT_NOT_YET_VALID: the CA's own certificate; CA_KEY, CERT_UNAVAILABLE,
   * CERT_INVALID: see the detail.
   */
  sign(plan: SigningPlan): Promise<readonly string[]>
  /** All roots, concatenated: what its leaves are verified with. */
  rootsPem(): Promise<string>
}
