// SPDX-License-Identifier: Apache-2.0
// URIs of a SubjectAltName extension (DER). Input is a peer's certificate: pure, bounded, never throws. Parsed here
// instead of read from text, because names may contain what a textual form separates them by.
import { type Refusal, refuse } from '../errors/refusal.ts'

/** More names than any workload has; a certificate with more is refused whole. */
const MAX_NAMES = 64
/** SPIFFE ids are at most 2048 bytes (SPIFFE-ID §2.3). */
const MAX_URI_BYTES = 2048
const SEQUENCE = 0x30
/** SPEC RFC5280 §4.2.1.6: uniformResourceIdentifier is [6] IMPLICIT IA5String. */
const URI_TAG = 0x86

/** Length octets at `at`: value and where the content starts, or null when malformed or not minimal DER. */
function readLength(der: Buffer, at: number): { readonly length: number; readonly next: number } | null {
  const first = der[at]
  if (first === undefined) return null
  if (first < 0x80) return { length: first, next: at + 1 }
  const count = first & 0x7f
  if (count < 1 || count > 3 || at + count >= der.length) return null
  const length = der.readUIntBE(at + 1, count)
  if (length < 0x80 || length < 2 ** (8 * (count - 1))) return null
  return { length, next: at + 1 + count }
}

/** The URIs in order, other kinds of names skipped. */
export function parseSubjectAltUris(der: Buffer): readonly string[] | Refusal {
  const malformed = refuse('CERT_INVALID', 'malformed SubjectAltName')
  const outer = der[0] === SEQUENCE ? readLength(der, 1) : null
  if (outer === null || outer.next + outer.length !== der.length) return malformed
  const uris: string[] = []
  let names = 0
  for (let at = outer.next; at < der.length; ) {
    const tag = der[at]
    const element = readLength(der, at + 1)
    if (element === null || element.next + element.length > der.length || ++names > MAX_NAMES)
      return malformed
    if (tag === URI_TAG) {
      if (element.length > MAX_URI_BYTES) return malformed
      const text = der.toString('latin1', element.next, element.next + element.length)
      if (!/^[\x21-\x7e]*$/.test(text)) return malformed
      uris.push(text)
    }
    at = element.next + element.length
  }
  return uris
}
