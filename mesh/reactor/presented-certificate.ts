// SPDX-License-Identifier: Apache-2.0
// What a native certificate says of itself, read from where handshakes take it: not from what somebody remembers to have
// put there.
import { isRefusal, type Refusal } from '../errors/refusal.ts'
import { copyFrom, type Pointer } from './ffi/native.ts'
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

/** The serial number of a native certificate, decimal. */
export function serialNumberOf(certificate: Pointer): string {
  const number = o.X509_get_serialNumber(certificate)
  const bytes = copyFrom(o.ASN1_STRING_get0_data(number), o.ASN1_STRING_length(number))
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
