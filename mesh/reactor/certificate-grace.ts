// SPDX-License-Identifier: Apache-2.0
// Peers whose certificate has ended while no CA could renew it. One is let in for a while if it is the very key and
// identity that this node has met with a certificate in order, and if its end is the only fault: what else OpenSSL and we
// check stays checked. A certificate of a CA that has ended is never forgiven: whoever could have stolen its key since signs
// for everybody, and its end is years after its last chance to be renewed.
import { hash } from 'node:crypto'
import { allocateBlock, type Pointer } from './ffi/native.ts'
import * as o from './ffi/openssl.ts'

const SECONDS_PER_DAY = 86_400
/** A public key in DER that is longer is not remembered: RSA of 16,384 bits takes 2,086 bytes. */
const MAX_PUBLIC_KEY_BYTES = 4096

/** Where OpenSSL stores two numbers, or finds an address. */
const cell = allocateBlock(8)

/** Who remembers peers, and hears of them. All calls come from within a handshake: quick, never throw. */
export interface CertificateGrace {
  /** For so long after its end a certificate is let in. */
  readonly graceSeconds: number
  /** True when the peer of this fingerprint has been here with a certificate in order. */
  isKnown(fingerprint: Buffer): boolean
  /** A handshake has ended well; `isInGrace`: only because its certificate was forgiven. */
  onPeer(fingerprint: Buffer, isInGrace: boolean, uris: readonly string[]): void
}

/** What is asked about a certificate that has ended. */
export interface EndedCertificate {
  /** 0: the peer's own; above: of a CA. */
  readonly depth: number
  readonly secondsSinceEnd: number
  readonly graceSeconds: number
  readonly isKnown: boolean
}

/** Why a certificate that has ended is refused; null: it is let in. */
export function decideGrace(certificate: EndedCertificate): string | null {
  const { depth, secondsSinceEnd, graceSeconds, isKnown } = certificate
  if (depth > 0) return 'it is of a CA'
  if (!isKnown) return 'its key was never here with a valid one'
  return secondsSinceEnd <= graceSeconds ? null : 'longer ago than is forgiven'
}

/** Of a native certificate: SHA-256 over its public key and the identity it is for; null: the key is too long. */
export function peerFingerprint(certificate: Pointer, identity: string): Buffer | null {
  const key = o.X509_get_X509_PUBKEY(certificate)
  const byteLength = o.i2d_X509_PUBKEY(key, 0)
  if (byteLength <= 0 || byteLength > MAX_PUBLIC_KEY_BYTES) return null
  const written = allocateBlock(byteLength)
  cell.bytes.writeBigUInt64LE(BigInt(written.address))
  o.i2d_X509_PUBKEY(key, cell.address)
  // DER ends by itself: no two pairs of key and identity are the same bytes.
  return hash('sha256', Buffer.concat([written.bytes, Buffer.from(identity)]), 'buffer')
}

/** How long ago a native certificate has ended; negative before. */
export function secondsSinceEnd(certificate: Pointer): number {
  const { bytes, address } = cell
  const end = o.X509_get0_notAfter(certificate)
  if (o.ASN1_TIME_diff(address, address + 4, end, 0) !== 1) return Number.POSITIVE_INFINITY
  return bytes.readInt32LE(0) * SECONDS_PER_DAY + bytes.readInt32LE(4)
}
