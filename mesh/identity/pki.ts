// SPDX-License-Identifier: Apache-2.0
// Keys, certificate requests and certificates. The only file that knows pkijs, asn1js and @peculiar/webcrypto:
// what leaves it is PEM text, plain facts and opaque keys. Certificates of others are parsed, never trusted here.
import {
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  type webcrypto as nodeWebcrypto,
} from 'node:crypto'
import { Crypto } from '@peculiar/webcrypto'
import * as asn1js from 'asn1js'
import * as pkijs from 'pkijs'
import { MeshError } from '../errors/mesh-error.ts'
import { type Refusal, refuse } from '../errors/refusal.ts'

const webcrypto = new Crypto()
const engine = new pkijs.CryptoEngine({ name: 'mesh', crypto: webcrypto, subtle: webcrypto.subtle })

const KEY_ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' }
const HASH = 'SHA-256'
/** How keys of others are read, by their kind. */
const ALGORITHMS: Readonly<
  Record<string, nodeWebcrypto.EcKeyImportParams | nodeWebcrypto.RsaHashedImportParams>
> = {
  'P-256': KEY_ALGORITHM,
  'P-384': { name: 'ECDSA', namedCurve: 'P-384' },
  RSA: { name: 'RSASSA-PKCS1-v1_5', hash: HASH },
}
const OID = {
  organization: '2.5.4.10',
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  crlReason: '2.5.29.21',
  crlNumber: '2.5.29.20',
  authorityKeyId: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  extensionRequest: '1.2.840.113549.1.9.14',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const
// SPEC RFC5280 §4.2.1.6: GeneralName ::= [2] dNSName, [6] uniformResourceIdentifier, [7] iPAddress
const DNS_NAME = 2
const URI_NAME = 6
const IP_NAME = 7
// SPEC RFC5280 §4.1.2.4: an empty subject is an empty SEQUENCE. pkijs alone would write a SEQUENCE of an empty SET,
// which is no RDN (SIZE 1..MAX): BoringSSL, hence Envoy, refuses such certificates.
const EMPTY_NAME = Uint8Array.of(0x30, 0x00).buffer
const KEY_USAGE_LEAF = { bits: 0b1010_0000, unusedBits: 5 } // digitalSignature, keyEncipherment
const KEY_USAGE_CA = { bits: 0b0000_0110, unusedBits: 1 } // keyCertSign, cRLSign
// Far above any certificate or request of a workload; bounds what one peer or CA answer can make us decode.
const MAX_PEM_LENGTH = 256 * 1024
const SERIAL_BYTES = 16 // 127 random bits: unique without a register of what was issued

const issuers = new WeakMap<Signer, pkijs.Certificate>()

/** A key as the crypto engine holds it. Opaque outside this file. */
export type CryptoKey = nodeWebcrypto.CryptoKey

/** A P-256 key pair. Opaque outside this file. */
export interface KeyPair {
  readonly publicKey: CryptoKey
  readonly privateKey: CryptoKey
}

/** A certificate request whose signature was verified: the asker holds the key. */
export interface CertificateRequest {
  readonly kind: 'certificate-request'
  /** URI names it asks for; a CA decides itself what it grants. */
  readonly uris: readonly string[]
  /** DER of the public key. */
  readonly publicKeyInfo: Uint8Array
}

/** What is written in a certificate. */
export interface CertificateFacts {
  readonly kind: 'certificate'
  readonly pem: string
  /** Decimal. */
  readonly serialNumber: string
  readonly notBeforeMs: number
  readonly notAfterMs: number
  /** URI names in their order; the SPIFFE id is one of them. */
  readonly uris: readonly string[]
  readonly isCa: boolean
  /** DER in hex: equal names are equal text. */
  readonly subject: string
  readonly issuer: string
  /** DER of the public key. */
  readonly publicKeyInfo: Uint8Array
}

/** Who signs. */
export interface Signer {
  readonly certificatePem: string
  readonly privateKey: CryptoKey
}

/** What a certificate shall say. Defaults make a leaf that peers accept; tests make bad ones on purpose. */
export interface CertificateTemplate {
  readonly publicKeyInfo: Uint8Array
  readonly uris: readonly string[]
  /** For servers that are dialled by name. Default: none. */
  readonly dnsNames?: readonly string[]
  /** 4 or 16 bytes each. Default: none. */
  readonly addresses?: readonly Uint8Array[]
  readonly notBeforeMs: number
  readonly notAfterMs: number
  /** Default false. */
  readonly isCa?: boolean
  /** Organization of the subject; default: empty subject. */
  readonly organization?: string
}

/** A new key pair for one certificate. */
export async function generateKeyPair(): Promise<KeyPair> {
  const pair = await webcrypto.subtle.generateKey(KEY_ALGORITHM, true, ['sign', 'verify'])
  if (!('privateKey' in pair)) throw new MeshError('INTERNAL', { detail: 'no key pair' })
  return pair
}

/** The private key as PKCS#8 PEM. Secret: 0600 files and memory only. */
export async function exportPrivateKey(key: CryptoKey): Promise<string> {
  return toPem('PRIVATE KEY', new Uint8Array(await webcrypto.subtle.exportKey('pkcs8', key)))
}

/** Reads a private key: P-256, P-384 or RSA, as PKCS#8, SEC 1 or PKCS#1. @throws CERT_INVALID when it is none. */
export async function importPrivateKey(pem: string): Promise<CryptoKey> {
  try {
    const block = /-----BEGIN (?:EC |RSA )?PRIVATE KEY-----[^-]*-----END (?:EC |RSA )?PRIVATE KEY-----/.exec(
      pem,
    )
    if (block === null) throw new Error('no PRIVATE KEY block')
    const key = createPrivateKey(block[0])
    const algorithm = ALGORITHMS[keyKindOf(key) ?? '']
    if (algorithm === undefined) throw new Error('neither P-256, P-384 nor RSA')
    const der = Uint8Array.from(key.export({ type: 'pkcs8', format: 'der' }))
    return await webcrypto.subtle.importKey('pkcs8', der, algorithm, true, ['sign'])
  } catch (cause) {
    throw new MeshError('CERT_INVALID', { detail: 'the private key is unreadable', cause })
  }
}

/** `P-256`, `P-384` or `RSA-<bits>`; undefined for every other key. Hostile input: never throws. */
export function describePublicKey(publicKeyInfo: Uint8Array): string | undefined {
  try {
    const key = createPublicKey({ key: Buffer.from(publicKeyInfo), format: 'der', type: 'spki' })
    const kind = keyKindOf(key)
    return kind === 'RSA' ? `RSA-${key.asymmetricKeyDetails?.modulusLength}` : kind
  } catch {
    return undefined
  }
}

function keyKindOf(key: KeyObject): 'P-256' | 'P-384' | 'RSA' | undefined {
  if (key.asymmetricKeyType === 'rsa') return 'RSA'
  if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return 'P-256'
  return key.asymmetricKeyDetails?.namedCurve === 'secp384r1' ? 'P-384' : undefined
}

/** DER of a public key, as certificates carry it. */
export async function publicKeyInfoOf(pair: KeyPair): Promise<Uint8Array> {
  return new Uint8Array(await webcrypto.subtle.exportKey('spki', pair.publicKey))
}

/** A request for a certificate with one URI name. */
export async function createCertificateRequest(pair: KeyPair, uri: string): Promise<string> {
  const request = new pkijs.CertificationRequest({ version: 0, attributes: [] })
  request.subject.valueBeforeDecode = EMPTY_NAME
  await request.subjectPublicKeyInfo.importKey(pair.publicKey, engine)
  // SPEC HBONE §2: empty subject and one critical SAN extension with one URI, signed with SHA-256.
  const extensions = new pkijs.Extensions({ extensions: [subjectAltName([uriName(uri)])] })
  request.attributes = [new pkijs.Attribute({ type: OID.extensionRequest, values: [extensions.toSchema()] })]
  await request.sign(pair.privateKey, HASH, engine)
  return toPem('CERTIFICATE REQUEST', new Uint8Array(request.toSchema(true).toBER()))
}

/** Reads a request and verifies that its sender holds the key. Hostile input: bounded, never throws. */
export async function parseCertificateRequest(pem: string): Promise<CertificateRequest | Refusal> {
  const der = fromPem(pem, 'CERTIFICATE REQUEST')
  if (der === undefined) return refuse('CERT_INVALID', 'no certificate request in PEM')
  try {
    const request = pkijs.CertificationRequest.fromBER(der)
    if (!(await request.verify(engine)))
      return refuse('CERT_INVALID', 'the signature of the request is wrong')
    const publicKeyInfo = new Uint8Array(request.subjectPublicKeyInfo.toSchema().toBER())
    const attribute = request.attributes?.find(({ type }) => type === OID.extensionRequest)
    const schema: unknown = attribute?.values[0]
    const extensions = schema === undefined ? [] : new pkijs.Extensions({ schema }).extensions
    return { kind: 'certificate-request', uris: urisOf(extensions), publicKeyInfo }
  } catch {
    return refuse('CERT_INVALID', 'the certificate request is malformed')
  }
}

/** A self-signed CA certificate. */
export async function createRootCertificate(
  pair: KeyPair,
  organization: string,
  notBeforeMs: number,
  notAfterMs: number,
): Promise<string> {
  const publicKeyInfo = await publicKeyInfoOf(pair)
  const template = { publicKeyInfo, uris: [], notBeforeMs, notAfterMs, isCa: true, organization }
  return await sign(template, undefined, pair.privateKey)
}

/** Signs a certificate. @throws CERT_INVALID when the signer's own certificate is unreadable. */
export async function signCertificate(signer: Signer, template: CertificateTemplate): Promise<string> {
  const issuer = issuerOf(signer)
  return await sign(template, issuer, signer.privateKey)
}

/** What a revocation list says. */
export interface RevocationListTemplate {
  /** Grows with every list of a signer. */
  readonly number: number
  readonly thisUpdateMs: number
  readonly nextUpdateMs: number
  readonly revoked: readonly RevokedEntry[]
}

/** One line of a revocation list. */
export interface RevokedEntry {
  /** Decimal. */
  readonly serialNumber: string
  readonly atMs: number
  /** SPEC RFC5280 §5.3.1; 0 or absent: unspecified. */
  readonly reason?: number
}

/** A signed revocation list, in PEM. @throws CERT_INVALID when the signer's own certificate is unreadable. */
export async function signRevocationList(signer: Signer, template: RevocationListTemplate): Promise<string> {
  const issuer = issuerOf(signer)
  const list = new pkijs.CertificateRevocationList()
  list.version = 1 // SPEC RFC5280 §5.1.2.1: v2
  list.issuer = issuer.subject
  list.thisUpdate = time(template.thisUpdateMs)
  list.nextUpdate = time(template.nextUpdateMs)
  const entries = template.revoked.map(revokedCertificate)
  // SPEC RFC5280 §5.1.2.6: when there are none, the list must be absent.
  if (entries.length > 0) list.revokedCertificates = entries
  const keyIdentifier = new asn1js.OctetString({ valueHex: await keyIdOf(issuer) })
  list.crlExtensions = new pkijs.Extensions({
    extensions: [
      octets(OID.authorityKeyId, new pkijs.AuthorityKeyIdentifier({ keyIdentifier }).toSchema()),
      octets(OID.crlNumber, new asn1js.Integer({ valueHex: integerBytes(BigInt(template.number)) })),
    ],
  })
  await list.sign(signer.privateKey, HASH, engine)
  return toPem('X509 CRL', new Uint8Array(list.toSchema(true).toBER()))
}

function revokedCertificate({ serialNumber, atMs, reason = 0 }: RevokedEntry): pkijs.RevokedCertificate {
  const userCertificate = new asn1js.Integer({ valueHex: integerBytes(BigInt(serialNumber)) })
  const entry = new pkijs.RevokedCertificate({ userCertificate, revocationDate: time(atMs) })
  // SPEC RFC5280 §5.3.1: unspecified is said by saying nothing.
  if (reason > 0) {
    const extension = octets(OID.crlReason, new asn1js.Enumerated({ value: reason }))
    entry.crlEntryExtensions = new pkijs.Extensions({ extensions: [extension] })
  }
  return entry
}

/** Reads the first certificate of a PEM text. Hostile input: bounded, never throws. */
export function parseCertificate(pem: string): CertificateFacts | Refusal {
  const certificate = decodeCertificate(pem)
  if (certificate === undefined) return refuse('CERT_INVALID', 'no readable certificate in PEM')
  try {
    const constraints: unknown = extensionOf(certificate, OID.basicConstraints)?.parsedValue
    return {
      kind: 'certificate',
      pem: toPem('CERTIFICATE', new Uint8Array(certificate.toSchema().toBER())),
      serialNumber: decimal(certificate.serialNumber.valueBlock.valueHexView),
      notBeforeMs: certificate.notBefore.value.getTime(),
      notAfterMs: certificate.notAfter.value.getTime(),
      uris: urisOf(certificate.extensions ?? []),
      isCa: constraints instanceof pkijs.BasicConstraints && constraints.cA,
      subject: Buffer.from(certificate.subject.toSchema().toBER()).toString('hex'),
      issuer: Buffer.from(certificate.issuer.toSchema().toBER()).toString('hex'),
      publicKeyInfo: new Uint8Array(certificate.subjectPublicKeyInfo.toSchema().toBER()),
    }
  } catch {
    return refuse('CERT_INVALID', 'the certificate is malformed')
  }
}

/** True when `issuerPem`'s key signed `pem`. Validity and names are not looked at. Never throws. */
export async function isSignedBy(pem: string, issuerPem: string): Promise<boolean> {
  const certificate = decodeCertificate(pem)
  const issuer = decodeCertificate(issuerPem)
  if (certificate === undefined || issuer === undefined) return false
  try {
    return await certificate.verify(issuer, engine)
  } catch {
    return false
  }
}

/** The certificates of a PEM text, one text each, in order. Other blocks are skipped. */
export function splitCertificates(pem: string): string[] {
  if (pem.length > MAX_PEM_LENGTH) return []
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g)
  return (blocks ?? []).map((block) => `${block}\n`)
}

/** A CA signs with the same signer again and again: it is decoded once. @throws CERT_INVALID when it is unreadable */
function issuerOf(signer: Signer): pkijs.Certificate {
  const known = issuers.get(signer)
  if (known !== undefined) return known
  const issuer = decodeCertificate(signer.certificatePem)
  if (issuer === undefined)
    throw new MeshError('CERT_INVALID', { detail: 'the CA certificate is unreadable' })
  issuers.set(signer, issuer)
  return issuer
}

async function sign(
  template: CertificateTemplate,
  issuer: pkijs.Certificate | undefined,
  privateKey: CryptoKey,
): Promise<string> {
  const certificate = new pkijs.Certificate()
  certificate.version = 2
  certificate.serialNumber = new asn1js.Integer({ valueHex: randomSerial().buffer })
  if (template.organization !== undefined) {
    const value = new asn1js.Utf8String({ value: template.organization })
    certificate.subject.typesAndValues.push(
      new pkijs.AttributeTypeAndValue({ type: OID.organization, value }),
    )
  } else {
    certificate.subject.valueBeforeDecode = EMPTY_NAME
  }
  certificate.issuer = issuer?.subject ?? certificate.subject
  certificate.notBefore = time(template.notBeforeMs)
  certificate.notAfter = time(template.notAfterMs)
  certificate.subjectPublicKeyInfo = pkijs.PublicKeyInfo.fromBER(Uint8Array.from(template.publicKeyInfo))
  const keyId = await keyIdOf(certificate)
  certificate.extensions = [
    basicConstraints(template.isCa ?? false),
    keyUsage(template.isCa ?? false),
    octets(OID.subjectKeyId, new asn1js.OctetString({ valueHex: keyId })),
    octets(
      OID.authorityKeyId,
      new pkijs.AuthorityKeyIdentifier({
        keyIdentifier: new asn1js.OctetString({
          valueHex: issuer === undefined ? keyId : await keyIdOf(issuer),
        }),
      }).toSchema(),
    ),
  ]
  if (template.isCa !== true) {
    const purposes = new pkijs.ExtKeyUsage({ keyPurposes: [OID.serverAuth, OID.clientAuth] })
    certificate.extensions.push(octets(OID.extendedKeyUsage, purposes.toSchema()))
  }
  const names = [
    ...template.uris.map(uriName),
    ...(template.dnsNames ?? []).map((value) => new pkijs.GeneralName({ type: DNS_NAME, value })),
    ...(template.addresses ?? []).map((address) => {
      const value = new asn1js.OctetString({ valueHex: Uint8Array.from(address).buffer })
      return new pkijs.GeneralName({ type: IP_NAME, value })
    }),
  ]
  if (names.length > 0) certificate.extensions.push(subjectAltName(names))
  await certificate.sign(privateKey, HASH, engine)
  return toPem('CERTIFICATE', new Uint8Array(certificate.toSchema(true).toBER()))
}

function octets(extnID: string, value: asn1js.BaseBlock, critical = false): pkijs.Extension {
  return new pkijs.Extension({ extnID, critical, extnValue: value.toBER() })
}

// SPEC RFC5280 §4.2.1.6: with an empty subject the alternative name must be critical.
function subjectAltName(names: pkijs.GeneralName[]): pkijs.Extension {
  return octets(OID.subjectAltName, new pkijs.GeneralNames({ names }).toSchema(), true)
}

function uriName(value: string): pkijs.GeneralName {
  return new pkijs.GeneralName({ type: URI_NAME, value })
}

function basicConstraints(isCa: boolean): pkijs.Extension {
  return octets(OID.basicConstraints, new pkijs.BasicConstraints({ cA: isCa }).toSchema(), true)
}

function keyUsage(isCa: boolean): pkijs.Extension {
  const { bits, unusedBits } = isCa ? KEY_USAGE_CA : KEY_USAGE_LEAF
  return octets(
    OID.keyUsage,
    new asn1js.BitString({ valueHex: Uint8Array.of(bits).buffer, unusedBits }),
    true,
  )
}

/** How a certificate is named by those it signed: its own word, else what we would have written. */
async function keyIdOf(certificate: pkijs.Certificate): Promise<ArrayBuffer> {
  const own: unknown = extensionOf(certificate, OID.subjectKeyId)?.parsedValue
  if (own instanceof asn1js.OctetString) return Uint8Array.from(own.valueBlock.valueHexView).buffer
  const bits = certificate.subjectPublicKeyInfo.subjectPublicKey.valueBlock.valueHexView
  return await webcrypto.subtle.digest('SHA-1', Uint8Array.from(bits)) // an index, not a protection: RFC5280 §4.2.1.2
}

// SPEC RFC5280 §4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050; whole seconds.
function time(atMs: number): pkijs.Time {
  const value = new Date(Math.floor(atMs / 1000) * 1000)
  return new pkijs.Time({ type: value.getUTCFullYear() < 2050 ? 0 : 1, value })
}

function randomSerial(): Uint8Array<ArrayBuffer> {
  const serial = webcrypto.getRandomValues(new Uint8Array(SERIAL_BYTES))
  // Positive and never with a leading zero octet, which DER would forbid.
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40
  return serial
}

function decodeCertificate(pem: string): pkijs.Certificate | undefined {
  const der = fromPem(pem, 'CERTIFICATE')
  if (der === undefined) return undefined
  try {
    return pkijs.Certificate.fromBER(der)
  } catch {
    return undefined
  }
}

function extensionOf(certificate: pkijs.Certificate, id: string): pkijs.Extension | undefined {
  return certificate.extensions?.find(({ extnID }) => extnID === id)
}

function urisOf(extensions: readonly pkijs.Extension[]): string[] {
  const value: unknown = extensions.find(({ extnID }) => extnID === OID.subjectAltName)?.parsedValue
  if (!(value instanceof pkijs.AltName) && !(value instanceof pkijs.GeneralNames)) return []
  const names: readonly pkijs.GeneralName[] = value instanceof pkijs.AltName ? value.altNames : value.names
  return names.filter(({ type }) => type === URI_NAME).map(({ value: uri }) => String(uri))
}

/** A non-negative INTEGER's content: as short as can be, and its first bit is no sign. */
function integerBytes(value: bigint): ArrayBuffer {
  const hex = value.toString(16)
  const bytes = Buffer.from(hex.length % 2 === 1 ? `0${hex}` : hex, 'hex')
  return Uint8Array.from((bytes[0] ?? 0) >= 0x80 ? [0, ...bytes] : bytes).buffer
}

function decimal(bytes: Uint8Array): string {
  return BigInt(`0x${Buffer.from(bytes).toString('hex') || '0'}`).toString()
}

function toPem(label: string, der: Uint8Array): string {
  const lines = Buffer.from(der)
    .toString('base64')
    .replace(/.{64}(?=.)/g, '$&\n')
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`
}

function fromPem(pem: string, label: string): Uint8Array<ArrayBuffer> | undefined {
  if (pem.length > MAX_PEM_LENGTH) return undefined
  const begin = `-----BEGIN ${label}-----`
  const start = pem.indexOf(begin)
  const end = pem.indexOf(`-----END ${label}-----`, start)
  if (start < 0 || end < 0) return undefined
  const base64 = pem.slice(start + begin.length, end).replace(/\s+/g, '')
  if (base64.length === 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return undefined
  return Uint8Array.from(Buffer.from(base64, 'base64'))
}
