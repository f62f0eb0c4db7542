// SPDX-License-Identifier: Apache-2.0
// Reads and verifies X.509 revocation lists (RFC 5280 §5). What is read of one before its signature was verified is where
// its parts are. Without the PKI library: ten thousand entries as a tree of objects would be a hundred megabytes.
import { type KeyObject, verify, X509Certificate } from 'node:crypto'
import { type Refusal, refuse } from '../errors/refusal.ts'
import type { WorkloadCertificate } from './certificate.ts'
import { DerReader, TAG } from './der-reader.ts'
import { certificateFingerprint } from './revoked-set.ts'

/** Certificates that are revoked and have not expired yet. A CA with more of them needs a new root. */
export const MAX_REVOKED = 10_000
/** Lists that are kept: one for every root of the trust domain; a rotation has two. */
export const MAX_REVOCATION_LISTS = 8
/** All lists together, as sent. Ten thousand entries are half a megabyte, in PEM two thirds. */
export const MAX_REVOCATIONS_BYTES = 8 * 1024 * 1024

const BEGIN = '-----BEGIN X509 CRL-----'
const END = '-----END X509 CRL-----'
const EXPLICIT_0 = 0xa0

/** Signatures that are understood, by the DER of their object identifier. SPEC RFC5758 §3.2, RFC4055 §5. */
const SIGNATURES: Readonly<Record<string, { readonly key: 'ec' | 'rsa'; readonly hash: string }>> = {
  '2a8648ce3d040302': { key: 'ec', hash: 'sha256' },
  '2a8648ce3d040303': { key: 'ec', hash: 'sha384' },
  '2a8648ce3d040304': { key: 'ec', hash: 'sha512' },
  '2a864886f70d01010b': { key: 'rsa', hash: 'sha256' },
  '2a864886f70d01010c': { key: 'rsa', hash: 'sha384' },
  '2a864886f70d01010d': { key: 'rsa', hash: 'sha512' },
}

/** A CA that is believed. */
export interface ListIssuer {
  /** SHA-256 of its certificate, as text. */
  readonly id: string
  /** DER of its name, as its certificates carry it. */
  readonly name: Buffer
  readonly publicKey: KeyObject
}

/** A list whose signature is that of a CA that is believed. */
export interface RevocationList {
  readonly kind: 'revocation-list'
  readonly der: Buffer
  /** ListIssuer.id */
  readonly issuerId: string
  readonly thisUpdateMs: number
  /** When there is a newer one at the latest; Infinity: not said. */
  readonly nextUpdateMs: number
  /** certificateFingerprint() of each revoked certificate. */
  readonly revoked: readonly Buffer[]
}

/** Lists of a text, PEM one after another, or one list in DER: the DER of each, not looked into. Hostile input. */
export function splitRevocationLists(crl: Uint8Array): readonly Buffer[] | Refusal {
  if (crl.length > MAX_REVOCATIONS_BYTES) return refuse('CERT_INVALID', 'the revocation lists are too long')
  const bytes = Buffer.from(crl.buffer, crl.byteOffset, crl.byteLength)
  if (bytes[0] === TAG.sequence) return [Buffer.from(bytes)]
  const text = bytes.toString('latin1')
  const lists: Buffer[] = []
  for (let at = text.indexOf(BEGIN); at >= 0; at = text.indexOf(BEGIN, at)) {
    const end = text.indexOf(END, at)
    if (end < 0) return refuse('CERT_INVALID', 'a revocation list has no end')
    lists.push(Buffer.from(text.slice(at + BEGIN.length, end), 'base64'))
    if (lists.length > MAX_REVOCATION_LISTS) return refuse('CERT_INVALID', 'too many revocation lists')
    at = end
  }
  return lists.length === 0 ? refuse('CERT_INVALID', 'no revocation list') : lists
}

/** PEM, as splitRevocationLists() reads it. */
export function joinRevocationLists(lists: readonly Buffer[]): string {
  return lists.map((der) => `${BEGIN}\n${der.toString('base64')}\n${END}\n`).join('')
}

/** The CAs that a workload believes: its roots, and those of its own chain that they signed. */
export function listIssuersOf({ rootsPem, chainPem }: WorkloadCertificate): readonly ListIssuer[] {
  const believed = rootsPem.map((pem) => new X509Certificate(pem))
  for (const pem of chainPem.slice(1).toReversed()) {
    const ca = new X509Certificate(pem)
    if (ca.ca && believed.some((issuer) => ca.checkIssued(issuer) && ca.verify(issuer.publicKey)))
      believed.push(ca)
  }
  return believed.map((certificate) => ({
    id: certificate.fingerprint256,
    name: partsOfCertificate(certificate.raw).subject,
    publicKey: certificate.publicKey,
  }))
}

/** The certificate as lists name it. `pem` was read once, so it can be read. */
export function fingerprintOf(pem: string): Buffer {
  const { issuer, serialNumber } = partsOfCertificate(new X509Certificate(pem).raw)
  return certificateFingerprint(issuer, serialNumber)
}

/** Of a certificate that OpenSSL has read. SPEC RFC5280 §4.1. */
function partsOfCertificate(der: Buffer): {
  readonly issuer: Buffer
  readonly serialNumber: Buffer
  readonly subject: Buffer
} {
  const outer = new DerReader(der)
  outer.next()
  const parts = outer.inside()
  parts.next()
  const fields = parts.inside()
  fields.next()
  if (fields.tag === EXPLICIT_0) fields.next() // the version
  const serialNumber = fields.content
  fields.next() // signature
  fields.next()
  const issuer = fields.whole
  fields.next() // validity
  fields.next()
  return { issuer, serialNumber, subject: fields.whole }
}

const NOT_UNDERSTOOD = refuse('CERT_INVALID', 'the revocation list is of a kind that is not understood')

/** `undecided`: nobody of `issuers` signed it. Hostile input: bounded, never throws. */
export function verifyRevocationList(
  der: Buffer,
  issuers: readonly ListIssuer[],
): RevocationList | Refusal | 'undecided' {
  const malformed = refuse('CERT_INVALID', 'the revocation list is malformed')
  // SPEC RFC5280 §5.1: CertificateList ::= SEQUENCE { tbsCertList, signatureAlgorithm, signatureValue }
  const outer = new DerReader(der)
  if (!outer.nextIs(TAG.sequence) || !outer.isAtEnd) return malformed
  const parts = outer.inside()
  if (!parts.nextIs(TAG.sequence)) return malformed
  const [signed, body] = [parts.whole, parts.inside()]
  if (!parts.nextIs(TAG.sequence)) return malformed
  const algorithm = parts.inside()
  if (!algorithm.nextIs(TAG.oid)) return malformed
  const signature = SIGNATURES[algorithm.content.toString('hex')]
  if (signature === undefined)
    return refuse('CERT_INVALID', 'the signature of the revocation list is not understood')
  if (!parts.nextIs(TAG.bitString) || !parts.isAtEnd || parts.content[0] !== 0) return malformed
  const value = parts.content.subarray(1)
  if (!body.next()) return malformed
  if (body.tag === TAG.integer && !body.next()) return malformed // the version
  if (!body.nextIs(TAG.sequence)) return malformed
  const name = body.whole
  // A root and its successor may have the same name: the signature tells them apart.
  const issuer = issuers.find(
    (each) =>
      each.publicKey.asymmetricKeyType === signature.key &&
      each.name.equals(name) &&
      isSigned(signature.hash, signed, each.publicKey, value),
  )
  return issuer === undefined ? 'undecided' : (readRest(body, der, issuer) ?? malformed)
}

function isSigned(hash: string, signed: Buffer, key: KeyObject, value: Buffer): boolean {
  try {
    return verify(hash, signed, key, value)
  } catch {
    return false // a value that is none of this kind of key
  }
}

/** What comes after the name, SPEC RFC5280 §5.1.2; undefined: malformed. */
function readRest(body: DerReader, der: Buffer, issuer: ListIssuer): RevocationList | Refusal | undefined {
  const thisUpdateMs = body.next() ? readTime(body.tag, body.content) : Number.NaN
  if (Number.isNaN(thisUpdateMs)) return undefined
  let nextUpdateMs = Number.POSITIVE_INFINITY
  let hasMore = body.next()
  if (hasMore && body.tag !== TAG.sequence && body.tag !== EXPLICIT_0) {
    nextUpdateMs = readTime(body.tag, body.content)
    hasMore = body.next()
  }
  const revoked: Buffer[] = []
  if (hasMore && body.tag === TAG.sequence) {
    const wrong = readEntries(body.inside(), issuer.name, revoked)
    if (wrong !== null) return wrong
    hasMore = body.next()
  }
  if (hasMore && body.tag === EXPLICIT_0) {
    if (hasCritical(body.inside())) return NOT_UNDERSTOOD
    hasMore = body.next()
  }
  if (hasMore || !body.isAtEnd || Number.isNaN(nextUpdateMs)) return undefined
  return { kind: 'revocation-list', der, issuerId: issuer.id, thisUpdateMs, nextUpdateMs, revoked }
}

// SPEC RFC5280 §5.2: a critical extension must be understood, or the list not be used. We need none.
function hasCritical(extensions: DerReader): boolean {
  if (!extensions.next()) return false
  const each = extensions.inside()
  while (each.next()) {
    const parts = each.inside()
    if (parts.next() && parts.nextIs(TAG.boolean) && parts.content[0] !== 0) return true
  }
  return false
}

/** Fills `into`. SPEC RFC5280 §5.1.2.6: serial number, date, extensions; the date changes nothing. */
function readEntries(entries: DerReader, issuerName: Buffer, into: Buffer[]): Refusal | null {
  while (entries.nextIs(TAG.sequence)) {
    if (into.length >= MAX_REVOKED)
      return refuse('CERT_INVALID', `more than ${MAX_REVOKED} certificates are revoked`)
    const entry = entries.inside()
    if (!entry.nextIs(TAG.integer)) break
    into.push(certificateFingerprint(issuerName, entry.content))
    if (!entry.next()) break
    // One that speaks of certificates of others (indirect lists) marks itself critical.
    if (entry.next() && hasCritical(new DerReader(entry.whole))) return NOT_UNDERSTOOD
    if (!entry.isAtEnd) break
  }
  return entries.isAtEnd && entries.tag === -1
    ? null
    : refuse('CERT_INVALID', 'the revocation list is malformed')
}

/** Epoch ms; NaN when it is no time. SPEC RFC5280 §5.1.2.4: UTCTime through 2049, then GeneralizedTime, both in Z. */
function readTime(tag: number, content: Buffer): number {
  const text = content.toString('latin1')
  const isShort = tag === TAG.utcTime && /^\d{12}Z$/.test(text)
  if (!isShort && !(tag === TAG.generalizedTime && /^\d{14}Z$/.test(text))) return Number.NaN
  const digits = isShort ? `${text < '5' ? '20' : '19'}${text}` : text
  const iso = digits.replace(/^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z')
  return Date.parse(iso)
}
