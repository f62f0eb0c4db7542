// SPDX-License-Identifier: Apache-2.0
// Our own CA: a P-256 root in a KeyStore, shared by all replicas; whoever comes first makes it. Knows the phases of a
// rotation (rotation.ts) and writes down, before it signs, until when its leaves last.
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { isRefusal, type Refusal } from '../../mesh/errors/refusal.ts'
import { BACKDATE_MS, ROOT_LIFETIME_MS } from '../../mesh/identity/lifetimes.ts'
import {
  type CertificateFacts,
  createRootCertificate,
  exportPrivateKey,
  generateKeyPair,
  importPrivateKey,
  isSignedBy,
  parseCertificate,
  type Signer,
  signCertificate,
} from '../../mesh/identity/pki.ts'

import type { Clock } from '../../mesh/runtime/clock.ts'
import type { KeyStore, StoredText } from './key-store.ts'
import {
  type AuthorityState,
  advanceRotation,
  beginRotation,
  bundleOf,
  cancelRotation,
  formatAuthorityState,
  parseAuthorityState,
  type RootRecord,
  type RotationStatus,
  rotationStatus,
  signerOf,
  withLeavesUntil,
} from './rotation.ts'
import type { SigningAuthority, SigningPlan } from './signing.ts'

const STATE_NAME = 'authority'
/** How old what a replica knows of the keys may be before it looks again. */
const REFRESH_MS = 5_000
/** A replica that cannot read the keys for so long signs no more: a rotation may have gone on without it. */
const STALE_MS = 60_000
/** Added to every wait of a rotation, because clocks differ; longer than STALE_MS, so that all replicas know. */
const SETTLE_MS = 120_000
/** Share of a lifetime by which the written end of leaves exceeds the needed one: four writes per lifetime. */
const HORIZON_SHARE = 0.25

/** What a RootAuthority is made of. */
export interface RootAuthorityOptions {
  readonly store: KeyStore
  /** Written in the root's subject. */
  readonly trustDomain: string
  readonly clock: Clock
  /** Default 2 min. */
  readonly settleMs?: number
}

/** A state that was read, checked, and is ready to sign. */
interface Loaded {
  readonly stored: StoredText
  readonly state: AuthorityState
  readonly signer: Signer
  readonly signerFacts: CertificateFacts
  readonly rootsPem: string
  readonly readAtMs: number
}

/** A CA with a root of its own. */
export class RootAuthority implements SigningAuthority {
  readonly name = 'root'
  readonly #options: RootAuthorityOptions
  #loaded: Loaded
  #reserving: Promise<RotationStatus> | null = null
  #refreshing: Promise<Loaded> | null = null

  private constructor(options: RootAuthorityOptions, loaded: Loaded) {
    this.#options = options
    this.#loaded = loaded
  }

  /**
   * Loads the root of the store, or makes it.
   * @throws CA_KEY when what is stored is damaged, readable by others or does not fit together.
   */
  static async open(options: RootAuthorityOptions): Promise<RootAuthority> {
    const { store, clock } = options
    if ((await store.read(STATE_NAME)) === null) {
      const state: AuthorityState = { phase: 'steady', old: await createRoot(options) }
      await store.write(STATE_NAME, formatAuthorityState(state), null) // false: another replica was first
    }
    const stored = await store.read(STATE_NAME)
    if (stored === null) throw new MeshError('CA_KEY', { detail: 'the key vanished from the store' })
    return new RootAuthority(options, await load(stored, clock.nowMs))
  }

  async sign(plan: SigningPlan): Promise<readonly string[]> {
    const { clock } = this.#options
    for (;;) {
      const loaded = await this.#fresh()
      const { signer, signerFacts, state, rootsPem } = loaded
      if (clock.nowMs >= signerFacts.notAfterMs)
        throw new MeshError('CERT_EXPIRED', { detail: 'the root of the CA has expired' })
      if (clock.nowMs < signerFacts.notBeforeMs)
        throw new MeshError('CERT_NOT_YET_VALID', { detail: 'the root of the CA lies in the future' })
      const notAfterMs = Math.min(plan.notAfterMs, signerFacts.notAfterMs)
      if (notAfterMs > signerOf(state).leavesUntilMs) {
        const slackMs = Math.ceil((notAfterMs - clock.nowMs) * HORIZON_SHARE)
        const reserve = (current: AuthorityState): AuthorityState =>
          withLeavesUntil(current, notAfterMs + slackMs)
        // One write for all that wait: a node that restarts asks for all of its pods at once.
        this.#reserving ??= this.#change(reserve, loaded).finally(() => {
          this.#reserving = null
        })
        await this.#reserving
        continue // what was read again may be another phase: decide anew
      }
      const leaf = await signCertificate(signer, {
        publicKeyInfo: plan.publicKeyInfo,
        uris: [plan.identity],
        notBeforeMs: plan.notBeforeMs,
        notAfterMs,
      })
      return [leaf, rootsPem]
    }
  }

  async rootsPem(): Promise<string> {
    return (await this.#fresh()).rootsPem
  }

  /** Every root that may have signed a living leaf, the signer first: each needs a revocation list. */
  async signers(): Promise<readonly Signer[]> {
    const { state } = await this.#fresh()
    return await Promise.all(
      bundleOf(state).map(async ({ certificatePem, privateKeyPem }) => ({
        certificatePem,
        privateKey: await importPrivateKey(privateKeyPem),
      })),
    )
  }

  /** Where a rotation stands. */
  async rotation(): Promise<RotationStatus> {
    return this.#statusOf((await this.#fresh()).state)
  }

  /** Makes the next root and begins to hand it out. @throws ROTATION_NOT_READY while one is under way */
  async beginRotation(): Promise<RotationStatus> {
    const next = await createRoot(this.#options)
    return await this.#change((state) => beginRotation(state, next, this.#options.clock.nowMs))
  }

  /** The next phase. @throws ROTATION_NOT_READY while it would break handshakes */
  async advanceRotation(hasEveryNode: boolean): Promise<RotationStatus> {
    const { clock } = this.#options
    const settleMs = this.#settleMs
    return await this.#change((state) => advanceRotation(state, clock.nowMs, { hasEveryNode, settleMs }))
  }

  /** Gives up a rotation in its first phase. @throws ROTATION_NOT_READY later */
  async cancelRotation(): Promise<RotationStatus> {
    return await this.#change(cancelRotation)
  }

  /** Applies `step` to the newest state and stores the result; if another replica was faster, to what it stored. */
  async #change(
    step: (state: AuthorityState) => AuthorityState | Refusal,
    from?: Loaded,
  ): Promise<RotationStatus> {
    const { store } = this.#options
    let loaded = from ?? (await this.#reload())
    for (;;) {
      const state = step(loaded.state)
      if (isRefusal(state)) throw new MeshError(state.code, { detail: state.detail })
      const text = formatAuthorityState(state)
      const isWritten = await store.write(STATE_NAME, text, loaded.stored.version)
      loaded = await this.#reload()
      if (isWritten) return this.#statusOf(state)
      // `from` was a condition of one signature: whoever asked looks again himself.
      if (from !== undefined) return this.#statusOf(loaded.state)
    }
  }

  get #settleMs(): number {
    return this.#options.settleMs ?? SETTLE_MS
  }

  #statusOf(state: AuthorityState): RotationStatus {
    return rotationStatus(state, this.#settleMs)
  }

  async #fresh(): Promise<Loaded> {
    const ageMs = Math.abs(this.#options.clock.nowMs - this.#loaded.readAtMs)
    if (ageMs < REFRESH_MS) return this.#loaded
    this.#refreshing ??= this.#reload().finally(() => {
      this.#refreshing = null
    })
    try {
      return await this.#refreshing
    } catch (cause) {
      if (ageMs < STALE_MS) return this.#loaded
      throw cause
    }
  }

  async #reload(): Promise<Loaded> {
    const { store, clock } = this.#options
    const stored = await store.read(STATE_NAME)
    if (stored === null) throw new MeshError('CA_KEY', { detail: 'the key vanished from the store' })
    this.#loaded =
      stored.version === this.#loaded.stored.version
        ? { ...this.#loaded, readAtMs: clock.nowMs }
        : await load(stored, clock.nowMs)
    return this.#loaded
  }
}

async function createRoot({ trustDomain, clock }: RootAuthorityOptions): Promise<RootRecord> {
  const pair = await generateKeyPair()
  const nowMs = clock.nowMs
  const certificatePem = await createRootCertificate(
    pair,
    trustDomain,
    nowMs - BACKDATE_MS,
    nowMs + ROOT_LIFETIME_MS,
  )
  return { certificatePem, privateKeyPem: await exportPrivateKey(pair.privateKey), leavesUntilMs: 0 }
}

async function load(stored: StoredText, nowMs: number): Promise<Loaded> {
  const state = parseAuthorityState(stored.text)
  if (isRefusal(state)) throw new MeshError(state.code, { detail: state.detail })
  for (const { certificatePem } of bundleOf(state)) {
    const facts = parseCertificate(certificatePem)
    if (isRefusal(facts) || !facts.isCa || !(await isSignedBy(certificatePem, certificatePem)))
      throw new MeshError('CA_KEY', { detail: 'a stored root is no self-signed CA certificate' })
  }
  const { certificatePem, privateKeyPem } = signerOf(state)
  const signer = await loadSigner(certificatePem, privateKeyPem)
  const rootsPem = bundleOf(state)
    .map((root) => root.certificatePem)
    .join('')
  return { stored, state, ...signer, rootsPem, readAtMs: nowMs }
}

/** A CA certificate and its key. @throws CA_KEY when one is unreadable or they do not belong together */
export async function loadSigner(
  certificatePem: string,
  privateKeyPem: string,
): Promise<{ readonly signer: Signer; readonly signerFacts: CertificateFacts }> {
  const signerFacts = parseCertificate(certificatePem)
  if (isRefusal(signerFacts) || !signerFacts.isCa)
    throw new MeshError('CA_KEY', { detail: 'the certificate of the CA is unreadable or of no CA' })
  try {
    const signer = { certificatePem: signerFacts.pem, privateKey: await importPrivateKey(privateKeyPem) }
    if (await isKeyOf(signer, signerFacts)) return { signer, signerFacts }
  } catch (cause) {
    throw new MeshError('CA_KEY', { detail: 'the key of the CA is unreadable', cause })
  }
  throw new MeshError('CA_KEY', { detail: 'the key of the CA is not that of its certificate' })
}

/** Signs something and verifies it: the only proof that holds for every kind of key. */
async function isKeyOf(signer: Signer, { publicKeyInfo }: CertificateFacts): Promise<boolean> {
  const probe = await signCertificate(signer, { publicKeyInfo, uris: [], notBeforeMs: 0, notAfterMs: 0 })
  return await isSignedBy(probe, signer.certificatePem)
}
