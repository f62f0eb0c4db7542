// SPDX-License-Identifier: Apache-2.0
// The controller's own TLS certificate, signed by the mesh's root: whoever trusts the mesh can call it. It is renewed
// at half life and when the roots change. SPEC XDS §0.2: a leaf, never the root itself.
import { MeshError } from '../mesh/errors/mesh-error.ts'
import type { GrpcServerIdentity } from '../mesh/grpc/server.ts'
import { BACKDATE_MS } from '../mesh/identity/lifetimes.ts'
import {
  exportPrivateKey,
  generateKeyPair,
  publicKeyInfoOf,
  type Signer,
  signCertificate,
} from '../mesh/identity/pki.ts'
import { ipToBytes } from '../mesh/net/address.ts'
import type { Clock, ClockTimer } from '../mesh/runtime/clock.ts'
import type { Log } from '../mesh/runtime/log.ts'

const LIFETIME_MS = 86_400_000
/** How often the roots are compared: a rotation has to reach client verification before its next phase. */
const LOOK_INTERVAL_MS = 10_000

/** What signs it (ca/open-authority.ts). */
export interface ServerCertificateSigner {
  /** The first one signs. */
  signers(): Promise<readonly Signer[]>
  /** Between the signer and its root: sent with the certificate. Absent: the signer is a root. */
  intermediatesPem?(): Promise<string>
  /** What the certificates of callers are verified with. */
  rootsPem(): Promise<string>
}

export interface ServerCertificateOptions {
  readonly signer: ServerCertificateSigner
  /** DNS names and IP addresses. */
  readonly names: readonly string[]
  readonly clock: Clock
  readonly log: Log
}

/** Keeps the certificate fresh. */
export class ServerCertificate {
  readonly #options: ServerCertificateOptions
  #identity: GrpcServerIdentity
  /** By the clock of then. */
  #signedMs: number
  #timer: ClockTimer | null = null

  private constructor(options: ServerCertificateOptions, identity: GrpcServerIdentity) {
    this.#options = options
    this.#identity = identity
    this.#signedMs = options.clock.nowMs
  }

  static async create(options: ServerCertificateOptions): Promise<ServerCertificate> {
    return new ServerCertificate(options, await sign(options))
  }

  get identity(): GrpcServerIdentity {
    return this.#identity
  }

  /** Looks from now on; `onRenewed` is given every new certificate. */
  start(onRenewed: (identity: GrpcServerIdentity) => void): void {
    this.#timer = this.#options.clock.startTimer(LOOK_INTERVAL_MS, () => {
      void this.#look(onRenewed).finally(() => {
        if (this.#timer !== null) this.start(onRenewed)
      })
    })
  }

  close(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  async #look(onRenewed: (identity: GrpcServerIdentity) => void): Promise<void> {
    const { signer, clock, log } = this.#options
    try {
      const isSame = (await signer.rootsPem()) === this.#identity.clientRootsPem
      if (isSame && isFresh(this.#signedMs, clock.nowMs)) return
      const signedMs = clock.nowMs
      this.#identity = await sign(this.#options)
      this.#signedMs = signedMs
      onRenewed(this.#identity)
    } catch (err) {
      log.error({ err }, 'the certificate of the controller is not renewed; it is tried again')
    }
  }
}

/** In the first half of its life; one that was signed while the clock was ahead is not valid yet when it is set right. */
function isFresh(signedMs: number, nowMs: number): boolean {
  return nowMs >= signedMs - BACKDATE_MS && nowMs < signedMs + LIFETIME_MS / 2
}

async function sign({ signer, names, clock }: ServerCertificateOptions): Promise<GrpcServerIdentity> {
  const [[current], rootsPem, pair] = await Promise.all([
    signer.signers(),
    signer.rootsPem(),
    generateKeyPair(),
  ])
  if (current === undefined) throw new MeshError('CA_KEY', { detail: 'the CA has no key' })
  const addresses = names.flatMap((name) => ipToBytes(name) ?? [])
  const certificatePem = await signCertificate(current, {
    publicKeyInfo: await publicKeyInfoOf(pair),
    uris: [],
    dnsNames: names.filter((name) => ipToBytes(name) === undefined),
    addresses,
    notBeforeMs: clock.nowMs - BACKDATE_MS,
    notAfterMs: clock.nowMs + LIFETIME_MS,
  })
  const chainPem = `${certificatePem}${(await signer.intermediatesPem?.()) ?? ''}`
  return {
    certificatePem: chainPem,
    privateKeyPem: await exportPrivateKey(pair.privateKey),
    clientRootsPem: rootsPem,
  }
}
