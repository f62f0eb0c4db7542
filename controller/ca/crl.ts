// SPDX-License-Identifier: Apache-2.0
// Revoked certificates, and the signed lists that say so. What is revoked is stored beside the keys; lists are signed
// when they are wanted and again at half their life, one for every root that may have signed a living leaf.
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { BACKDATE_MS } from '../../mesh/identity/lifetimes.ts'
import { type Signer, signRevocationList } from '../../mesh/identity/pki.ts'
import { MAX_REVOKED } from '../../mesh/identity/revocation-list.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import type { RevocationCheck } from './attestation.ts'
import type { KeyStore, StoredText } from './key-store.ts'

const STORE_NAME = 'revoked'
const LIST_LIFETIME_MS = 86_400_000 // as the leaves: who cannot fetch a list for a day gets no certificate either
const REFRESH_MS = 5_000 // a revocation made by another replica is in force within it

/** Why, in the words of X.509. */
export type RevocationReason = keyof typeof REASON_NUMBERS

// SPEC RFC5280 §5.3.1; certificateHold and removeFromCRL are missing: nothing is taken back here.
const REASON_NUMBERS = {
  unspecified: 0,
  keyCompromise: 1,
  cACompromise: 2,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  privilegeWithdrawn: 9,
} as const

/** All of them. */
export const REVOCATION_REASONS = Object.keys(REASON_NUMBERS) as readonly RevocationReason[] // as: its own keys

/** One revoked certificate. */
export interface Revocation {
  /** Decimal. */
  readonly serialNumber: string
  readonly atMs: number
  /** End of the certificate: after it the entry is dropped. */
  readonly notAfterMs: number
  /** Absent: not said, as in registers of earlier versions. */
  readonly reason?: RevocationReason
}

/** What a RevocationRegister is made of. */
export interface RevocationOptions {
  readonly store: KeyStore
  readonly clock: Clock
  /** Who signs lists: RootAuthority.signers(). */
  readonly signers: () => Promise<readonly Signer[]>
}

interface Register {
  readonly stored: StoredText | null
  /** Grows with every change; half of a list's number. */
  readonly changes: number
  readonly revoked: readonly Revocation[]
  readonly serials: ReadonlySet<string>
  readonly readAtMs: number
}

interface SignedList {
  readonly pem: string
  readonly changes: number
  readonly signedAtMs: number
}

/** The revoked certificates of a CA. */
export class RevocationRegister implements RevocationCheck {
  readonly #options: RevocationOptions
  readonly #lists = new Map<string, SignedList>()
  #register: Register | null = null

  constructor(options: RevocationOptions) {
    this.#options = options
  }

  /** Revokes for good. @throws LIMIT_NODE when MAX_REVOKED are, CERT_INVALID when it is no serial number */
  async revoke(
    serialNumber: string,
    notAfterMs: number,
    reason: RevocationReason = 'unspecified',
  ): Promise<void> {
    if (!/^\d{1,50}$/.test(serialNumber)) throw new MeshError('CERT_INVALID', { detail: 'no serial number' })
    const { store, clock } = this.#options
    for (;;) {
      const register = await this.#read()
      if (register.serials.has(serialNumber)) return
      const nowMs = clock.nowMs
      // A day more than needed: peers' clocks may be behind, and a list names what is just over too.
      const living = register.revoked.filter((entry) => entry.notAfterMs + LIST_LIFETIME_MS > nowMs)
      if (living.length >= MAX_REVOKED)
        throw new MeshError('LIMIT_NODE', { detail: `${MAX_REVOKED} certificates are revoked` })
      const revoked = [...living, { serialNumber, atMs: nowMs, notAfterMs, reason }]
      const text = `${JSON.stringify({ format: 1, changes: register.changes + 1, revoked })}\n`
      const isWritten = await store.write(STORE_NAME, text, register.stored?.version ?? null)
      this.#register = null
      if (isWritten) return
    }
  }

  async isRevoked(serialNumber: string): Promise<boolean> {
    return (await this.#fresh()).serials.has(serialNumber)
  }

  /** The lists now in force, in PEM: one per root, that of the signing root first. */
  async lists(): Promise<readonly string[]> {
    const register = await this.#fresh()
    const signers = await this.#options.signers()
    const pems = await Promise.all(signers.map((signer) => this.#listOf(signer, register)))
    const known = new Set(signers.map(({ certificatePem }) => certificatePem))
    for (const signer of this.#lists.keys()) if (!known.has(signer)) this.#lists.delete(signer)
    return pems
  }

  async #listOf(signer: Signer, register: Register): Promise<string> {
    const nowMs = this.#options.clock.nowMs
    const known = this.#lists.get(signer.certificatePem)
    const ageMs = known === undefined ? 0 : nowMs - known.signedAtMs
    // A negative age is a clock that stepped back: a list must not lie in the future of its readers.
    if (known?.changes === register.changes && ageMs >= 0 && ageMs < LIST_LIFETIME_MS / 2) return known.pem
    const pem = await signRevocationList(signer, {
      // SPEC RFC5280 §5.2.3: grows with every list of an issuer, whichever replica signed it: seconds do.
      number: Math.floor(nowMs / 1000) + register.changes,
      thisUpdateMs: nowMs - BACKDATE_MS,
      nextUpdateMs: nowMs + LIST_LIFETIME_MS,
      revoked: register.revoked.map(({ serialNumber, atMs, reason = 'unspecified' }) => ({
        ...{ serialNumber, atMs, reason: REASON_NUMBERS[reason] },
      })),
    })
    this.#lists.set(signer.certificatePem, { pem, changes: register.changes, signedAtMs: nowMs })
    return pem
  }

  async #fresh(): Promise<Register> {
    const register = this.#register
    const isFresh = register !== null && Math.abs(this.#options.clock.nowMs - register.readAtMs) < REFRESH_MS
    return isFresh ? register : await this.#read()
  }

  async #read(): Promise<Register> {
    const { store, clock } = this.#options
    const stored = await store.read(STORE_NAME)
    const { changes, revoked } = stored === null ? { changes: 0, revoked: [] } : parse(stored.text)
    const serials = new Set(revoked.map(({ serialNumber }) => serialNumber))
    this.#register = { stored, changes, revoked, serials, readAtMs: clock.nowMs }
    return this.#register
  }
}

/** @throws CA_KEY: a damaged register must not read as "nothing is revoked" */
function parse(text: string): { readonly changes: number; readonly revoked: readonly Revocation[] } {
  try {
    const read = JSON.parse(text) as Record<string, unknown> // as: looked at below
    const { format, changes, revoked } = read
    if (format === 1 && typeof changes === 'number' && Array.isArray(revoked) && revoked.every(isRevocation))
      return { changes, revoked }
  } catch {
    // told below
  }
  throw new MeshError('CA_KEY', { detail: 'the register of revoked certificates is damaged' })
}

function isRevocation(value: unknown): value is Revocation {
  if (typeof value !== 'object' || value === null) return false
  const { serialNumber, atMs, notAfterMs, reason } = value as Record<string, unknown> // as: looked at here
  const isReason = reason === undefined || REVOCATION_REASONS.some((each) => each === reason)
  return (
    typeof serialNumber === 'string' && typeof atMs === 'number' && typeof notAfterMs === 'number' && isReason
  )
}
