// SPDX-License-Identifier: Apache-2.0
// The revoked certificates of one worker: what its handshakes ask, and the end of the tunnels that were made before. Those
// are looked through some per turn: traffic of the others goes on meanwhile.

import type { CloseReason } from '../reactor/byte-stream.ts'
import type { RevokedCertificates } from '../reactor/presented-certificate.ts'
import type { Reactor } from '../reactor/reactor.ts'
import { REVOKED_DETAIL } from '../reactor/tls-context.ts'
import { TlsSocket } from '../reactor/tls-socket.ts'
import { RevokedSet } from './revoked-set.ts'

/** Connections looked at in one turn: about a millisecond. */
const CONNECTIONS_PER_TURN = 64

/** Which side of a tunnel this node is when it turns the other one away, in the words of Istio's metrics. */
export type Reporter = 'source' | 'destination'

/** Asked by every handshake of the worker. */
export class RevokedPeers implements RevokedCertificates {
  readonly #reactor: Reactor
  readonly #count: (reporter: Reporter) => void
  #set = new RevokedSet()
  /** Tunnels that are still to be looked at; a new list begins anew. */
  #unchecked: TlsSocket[] = []
  #isChecking = false

  /** `count` hears of every peer that was turned away. */
  constructor(reactor: Reactor, count: (reporter: Reporter) => void) {
    this.#reactor = reactor
    this.#count = count
  }

  get size(): number {
    return this.#set.size
  }

  hasCertificate(issuerName: Uint8Array, serialNumber: Uint8Array): boolean {
    return this.#set.hasCertificate(issuerName, serialNumber)
  }

  /** Puts another set in force, for new handshakes at once. */
  replace(memory: SharedArrayBuffer): void {
    this.#set = new RevokedSet(memory)
    this.#unchecked = this.#set.size === 0 ? [] : this.#openTunnels()
    if (this.#isChecking) return
    this.#isChecking = true
    this.#check()
  }

  /** A handshake has failed; counts it when it failed for this. */
  onHandshakeFailed({ code }: CloseReason, reporter: Reporter): void {
    if (code === 'CERT_REVOKED') this.#count(reporter)
  }

  #openTunnels(): TlsSocket[] {
    return this.#reactor.watchers.filter((watcher) => watcher instanceof TlsSocket)
  }

  #check(): void {
    for (const socket of this.#unchecked.splice(0, CONNECTIONS_PER_TURN)) {
      if (!socket.isPeerRevoked(this)) continue
      this.#count(socket.certificates()?.role === 'client' ? 'source' : 'destination')
      socket.destroy({ code: 'CERT_REVOKED', detail: REVOKED_DETAIL })
    }
    this.#isChecking = this.#unchecked.length > 0
    if (this.#isChecking) this.#reactor.inNextTurn(() => this.#check())
  }
}
