// SPDX-License-Identifier: Apache-2.0
// What policies see of a connection. One small object per connection; the rest is computed when first needed.
import type { SpiffeId } from '../identity/spiffe.ts'
import { ipToBytes } from '../net/address.ts'

const NO_BYTES = new Uint8Array(0)

/** The attributes of one connection (SPEC HBONE §4.4). */
export class AuthzConnection {
  /** Canonical text of the TCP peer. */
  readonly sourceIp: string
  /** Canonical text of the local address. */
  readonly destinationIp: string
  /** The application's port, after any tunnel override; never 15008. */
  readonly destinationPort: number
  /** The identity without `spiffe://`; '' when the peer proved none. */
  readonly principal: string
  /** '' when the peer proved no identity. */
  readonly namespace: string
  readonly serviceAccount: string
  #sourceBytes: Uint8Array | null = null
  #destinationBytes: Uint8Array | null = null
  #accountKey: string | null = null

  constructor(sourceIp: string, identity: SpiffeId | null, destinationIp: string, destinationPort: number) {
    this.sourceIp = sourceIp
    this.destinationIp = destinationIp
    this.destinationPort = destinationPort
    this.namespace = identity === null ? '' : identity.namespace
    this.serviceAccount = identity === null ? '' : identity.serviceAccount
    this.principal =
      identity === null
        ? ''
        : `${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`
  }

  /** True when the peer proved an identity. */
  get hasIdentity(): boolean {
    return this.principal !== ''
  }

  get sourceBytes(): Uint8Array {
    this.#sourceBytes ??= ipToBytes(this.sourceIp) ?? NO_BYTES
    return this.#sourceBytes
  }

  get destinationBytes(): Uint8Array {
    this.#destinationBytes ??= ipToBytes(this.destinationIp) ?? NO_BYTES
    return this.#destinationBytes
  }

  /** `namespace/serviceAccount`, or '' without identity. */
  get accountKey(): string {
    this.#accountKey ??= this.hasIdentity ? `${this.namespace}/${this.serviceAccount}` : ''
    return this.#accountKey
  }
}
