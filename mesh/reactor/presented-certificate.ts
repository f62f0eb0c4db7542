// SPDX-License-Identifier: Apache-2.0
// What a native certificate says of itself, read from where handshakes take it: not from what somebody remembers to have
// put there.
import { isRefusal, type Refusal } from '../errors/refusal.ts'
import { allocateBlock, copyFrom, type Pointer } from './ffi/native.ts'
import * as o from './ffi/openssl.ts'
import { parseSubjectAltUris } from './subject-alt-name.ts'

/** One certificate as it goes over the wire. */
export interface PresentedCertificate {
  /** Its first URI, '' without one. */
  readonly identity: string
  /** Decimal. */
  readonly serialNumber: string
}

/** SubjectAltName URIs of a native certificate; refuses what cannot be parsed. */
export function urisOf(certificate: Pointer): readonly string[] | Refusal {
  const index = o.X509_get_ext_by_NID(certificate, o.NID_subject_alt_name, -1)
  if (index < 0) return []
  const data = o.X509_EXTENSION_get_data(o.X509_get_ext(certificate, index))
  return parseSubjectAltUris(copyFrom(o.ASN1_STRING_get0_data(data), o.ASN1_STRING_length(data)))
}

/** The serial number of a native certificate, a big-endian magnitude. */
function serialBytesOf(certificate: Pointer): Buffer {
  const number = o.X509_get_serialNumber(certificate)
  return copyFrom(o.ASN1_STRING_get0_data(number), o.ASN1_STRING_length(number))
}

/** Where OpenSSL stores pointer and length of a name. */
const nameAnswer = allocateBlock(16)

/** DER of the name of a native certificate's issuer. */
function issuerNameOf(certificate: Pointer): Buffer {
  const { bytes, address } = nameAnswer
  bytes.fill(0)
  o.X509_NAME_get0_der(o.X509_get_issuer_name(certificate), address, address + 8)
  return copyFrom(Number(bytes.readBigUInt64LE(0)), Number(bytes.readBigUInt64LE(8)))
}

/** The certificates that are not believed although their CA is. */
export interface RevokedCertificates {
  /** 0: nothing is asked. */
  readonly size: number
  /** `issuerName` is DER, `serialNumber` a big-endian magnitude. Quick, never throws. */
  hasCertificate(issuerName: Uint8Array, serialNumber: Uint8Array): boolean
}

export const NONE_REVOKED: RevokedCertificates = { size: 0, hasCertificate: () => false }

/** True when a native certificate is one of them. */
export function isRevoked(certificate: Pointer, revoked: RevokedCertificates): boolean {
  return revoked.size > 0 && revoked.hasCertificate(issuerNameOf(certificate), serialBytesOf(certificate))
}

/** The serial number of a native certificate, decimal. */
export function serialNumberOf(certificate: Pointer): string {
  const bytes = serialBytesOf(certificate)
  return bytes.length === 0 ? '0' : BigInt(`0x${bytes.toString('hex')}`).toString()
}

/** Identity and serial number of a native certificate. */
export function presentedCertificate(certificate: Pointer): PresentedCertificate {
  const uris = urisOf(certificate)
  const identity = isRefusal(uris) ? '' : (uris[0] ?? '')
  return { identity, serialNumber: serialNumberOf(certificate) }
}

/** What both sides of a connection presented; null: nothing. */
export interface ConnectionCertificates {
  readonly role: 'client' | 'server'
  readonly own: PresentedCertificate | null
  readonly peer: PresentedCertificate | null
}

/** True when what the peer of a finished handshake presented is revoked. */
export function isPeerRevoked(ssl: Pointer, revoked: RevokedCertificates): boolean {
  if (revoked.size === 0) return false
  const peer = o.SSL_get1_peer_certificate(ssl)
  if (peer === 0) return false
  try {
    return isRevoked(peer, revoked)
  } finally {
    o.dropCertificate(peer)
  }
}

/** What both sides of a finished handshake presented. */
export function connectionCertificates(ssl: Pointer): ConnectionCertificates {
  const own = o.SSL_get_certificate(ssl)
  const peer = o.SSL_get1_peer_certificate(ssl)
  try {
    return {
      role: o.SSL_is_server(ssl) === 1 ? 'server' : 'client',
      own: own === 0 ? null : presentedCertificate(own),
      peer: peer === 0 ? null : presentedCertificate(peer),
    }
  } finally {
    if (peer !== 0) o.dropCertificate(peer)
  }
}
