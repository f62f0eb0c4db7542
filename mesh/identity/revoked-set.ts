// SPDX-License-Identifier: Apache-2.0
// The revoked certificates as all threads of a process see them: one block of shared memory, sixteen bytes for each,
// sorted. A new list is a new block; nobody ever changes one.
import { hash } from 'node:crypto'

/** Half a SHA-256: nobody can make a certificate of a CA collide on purpose, nor does one by chance. */
const FINGERPRINT_BYTES = 16

/** Names a certificate: DER of its issuer's name, and its serial number as a big-endian magnitude. */
export function certificateFingerprint(issuerName: Uint8Array, serialNumber: Uint8Array): Buffer {
  let first = 0
  while (first < serialNumber.length && serialNumber[first] === 0) first++
  const text = Buffer.concat([issuerName, serialNumber.subarray(first)])
  return hash('sha256', text, 'buffer').subarray(0, FINGERPRINT_BYTES)
}

/** Shared memory for a RevokedSet. Repeated fingerprints count once. */
export function shareRevoked(fingerprints: readonly Buffer[]): SharedArrayBuffer {
  const sorted = fingerprints.toSorted(Buffer.compare)
  const unique = sorted.filter((each, index) => index === 0 || !each.equals(sorted[index - 1] ?? each))
  const memory = new SharedArrayBuffer(unique.length * FINGERPRINT_BYTES)
  const bytes = Buffer.from(memory)
  for (const [index, each] of unique.entries()) each.copy(bytes, index * FINGERPRINT_BYTES)
  return memory
}

/** Looks up certificates. */
export class RevokedSet {
  readonly size: number
  readonly #bytes: Buffer

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(0)) {
    this.#bytes = Buffer.from(memory)
    this.size = this.#bytes.length / FINGERPRINT_BYTES
  }

  /** True when the certificate of certificateFingerprint() is revoked. */
  has(fingerprint: Buffer): boolean {
    for (let low = 0, high = this.size - 1; low <= high; ) {
      const middle = (low + high) >> 1
      const at = middle * FINGERPRINT_BYTES
      const order = fingerprint.compare(this.#bytes, at, at + FINGERPRINT_BYTES)
      if (order === 0) return true
      if (order < 0) high = middle - 1
      else low = middle + 1
    }
    return false
  }

  /** True when this certificate is revoked. While nothing is, that costs nothing. */
  hasCertificate(issuerName: Uint8Array, serialNumber: Uint8Array): boolean {
    return this.size > 0 && this.has(certificateFingerprint(issuerName, serialNumber))
  }
}
