// SPDX-License-Identifier: Apache-2.0
// The peers one worker may let in although their certificate has ended. Which ones have been here all workers know together;
// main keeps it over a restart.
import { SeenKeys } from '../../mesh/identity/seen-keys.ts'
import type { CertificateGrace } from '../../mesh/reactor/certificate-grace.ts'

/** What every worker is started with; null: no peer is forgiven anything. */
export interface GraceSettings {
  readonly graceSeconds: number
  /** For `new SeenKeys()`. */
  readonly seenKeys: SharedArrayBuffer
}

/** Asked by every handshake of the worker. */
export class GracePeers implements CertificateGrace {
  readonly graceSeconds: number
  readonly #keys: SeenKeys
  readonly #accepted: (identity: string) => void

  /** `accepted` hears of every tunnel that stands only by grace. */
  constructor({ graceSeconds, seenKeys }: GraceSettings, accepted: (identity: string) => void) {
    this.graceSeconds = graceSeconds
    this.#keys = new SeenKeys(seenKeys)
    this.#accepted = accepted
  }

  isKnown(fingerprint: Buffer): boolean {
    return this.#keys.has(fingerprint)
  }

  onPeer(fingerprint: Buffer, isInGrace: boolean, uris: readonly string[]): void {
    if (isInGrace) this.#accepted(uris[0] ?? '')
    else this.#keys.add(fingerprint, Date.now())
  }
}
