// SPDX-License-Identifier: Apache-2.0
// Certificates for tests: good ones, and every kind a peer must refuse.
import {
  type CryptoKey,
  createRootCertificate,
  exportPrivateKey,
  generateKeyPair,
  importPrivateKey,
  publicKeyInfoOf,
  type RevocationListTemplate,
  signCertificate,
  signRevocationList,
  splitCertificates,
} from '../../mesh/identity/pki.ts'
import { formatSpiffeId, type SpiffeId } from '../../mesh/identity/spiffe.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

/** A certificate with its key, as files and handshakes want them. */
export interface TestCertificate {
  readonly certificatePem: string
  readonly privateKeyPem: string
}

/** What differs from a good certificate. */
export interface TestCertificateOptions {
  readonly uris?: readonly string[]
  readonly notBeforeMs?: number
  readonly notAfterMs?: number
  readonly isCa?: boolean
  /** For this key instead of a new one; the caller has its private half. */
  readonly publicKeyInfo?: Uint8Array
}

/** The kinds of bad certificates a handshake must refuse. */
export type BadCertificate =
  | 'expired'
  | 'not-yet-valid'
  | 'ca-as-leaf'
  | 'no-spiffe-id'
  | 'other-trust-domain'

/** A CA for tests. */
export class TestAuthority {
  readonly rootPem: string
  readonly #privateKey: CryptoKey
  readonly #nowMs: number

  private constructor(rootPem: string, privateKey: CryptoKey, nowMs: number) {
    this.rootPem = rootPem
    this.#privateKey = privateKey
    this.#nowMs = nowMs
  }

  /** A new root. `nowMs` is the time the certificates are valid at. */
  static async create(nowMs = Date.now(), organization = 'cluster.local'): Promise<TestAuthority> {
    const pair = await generateKeyPair()
    const rootPem = await createRootCertificate(pair, organization, nowMs - HOUR_MS, nowMs + 1000 * HOUR_MS)
    return new TestAuthority(rootPem, pair.privateKey, nowMs)
  }

  /** The CA of a directory, from its file: certificate and key. */
  static async load(rootText: string, nowMs = Date.now()): Promise<TestAuthority> {
    const [rootPem = ''] = splitCertificates(rootText)
    return new TestAuthority(rootPem, await importPrivateKey(rootText), nowMs)
  }

  /** A certificate for an identity; options make it unusual. */
  async sign(identity: SpiffeId, options: TestCertificateOptions = {}): Promise<TestCertificate> {
    const pair = await generateKeyPair()
    const certificatePem = await signCertificate(
      { certificatePem: this.rootPem, privateKey: this.#privateKey },
      {
        publicKeyInfo: await publicKeyInfoOf(pair),
        uris: [formatSpiffeId(identity)],
        notBeforeMs: this.#nowMs - 2 * MINUTE_MS,
        notAfterMs: this.#nowMs + 24 * HOUR_MS,
        ...options,
      },
    )
    return { certificatePem, privateKeyPem: await exportPrivateKey(pair.privateKey) }
  }

  /** A revocation list of this CA, in PEM. */
  async signRevocations(template: RevocationListTemplate): Promise<string> {
    return await signRevocationList({ certificatePem: this.rootPem, privateKey: this.#privateKey }, template)
  }

  /** A certificate that peers of `identity`'s trust domain must refuse. */
  async signBad(kind: BadCertificate, identity: SpiffeId): Promise<TestCertificate> {
    const nowMs = this.#nowMs
    const variants: Record<BadCertificate, TestCertificateOptions> = {
      expired: { notBeforeMs: nowMs - 2 * HOUR_MS, notAfterMs: nowMs - HOUR_MS },
      'not-yet-valid': { notBeforeMs: nowMs + HOUR_MS, notAfterMs: nowMs + 2 * HOUR_MS },
      'ca-as-leaf': { isCa: true },
      'no-spiffe-id': { uris: ['https://example.com/'] },
      'other-trust-domain': { uris: [formatSpiffeId({ ...identity, trustDomain: 'other.example' })] },
    }
    return await this.sign(identity, variants[kind])
  }
}
