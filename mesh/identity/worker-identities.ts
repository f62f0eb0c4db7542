// SPDX-License-Identifier: Apache-2.0
// Certificates and trust of one worker, parsed once. A renewed certificate serves new handshakes; tunnels that stand
// keep the one they were made with, by reference count.
import type { PresentedCertificate } from '../reactor/presented-certificate.ts'
import { TlsContext, TlsCredentials } from '../reactor/tls-context.ts'

/** What a handshake of one identity needs. Valid until the next call of `replace` or `close`. */
export interface WorkerIdentity {
  readonly credentials: TlsCredentials
  readonly context: TlsContext
}

interface Entry extends WorkerIdentity {
  readonly trustBundleId: string
}

/** Identities by SPIFFE id. */
export class WorkerIdentities {
  readonly #entries = new Map<string, Entry>()
  readonly #contexts = new Map<string, TlsContext>()

  get(identity: string): WorkerIdentity | undefined {
    return this.#entries.get(identity)
  }

  /** Puts a new certificate in force. @throws CERT_INVALID and keeps the old one. */
  replace(
    identity: string,
    chainPem: readonly string[],
    privateKeyPem: string,
    rootsPem: readonly string[],
    trustBundleId: string,
  ): void {
    const credentials = new TlsCredentials(chainPem, privateKeyPem)
    let context = this.#contexts.get(trustBundleId)
    if (context === undefined) {
      context = new TlsContext(rootsPem)
      this.#contexts.set(trustBundleId, context)
    }
    this.#entries.get(identity)?.credentials.release()
    this.#entries.set(identity, { credentials, context, trustBundleId })
    this.#freeUnusedContexts()
  }

  /** Drops an identity that the node serves no more; connections that stand keep theirs. */
  forget(identity: string): void {
    this.#entries.get(identity)?.credentials.release()
    this.#entries.delete(identity)
    this.#freeUnusedContexts()
  }

  /** What the next handshake of each identity will present, read from the native certificates. */
  presented(): PresentedCertificate[] {
    return [...this.#entries.values()].map(({ credentials }) => credentials.presented)
  }

  close(): void {
    for (const { credentials } of this.#entries.values()) credentials.release()
    this.#entries.clear()
    this.#freeUnusedContexts()
  }

  #freeUnusedContexts(): void {
    const used = new Set([...this.#entries.values()].map(({ trustBundleId }) => trustBundleId))
    for (const [id, context] of this.#contexts) {
      if (used.has(id)) continue
      context.free()
      this.#contexts.delete(id)
    }
  }
}
