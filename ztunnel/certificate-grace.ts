// SPDX-License-Identifier: Apache-2.0
// Grace for certificates that end while the CA is away, as the data process has it: the memory of peers that its workers
// share, kept on the disk, and what is told of those who are let in. Without the option there is none of it.
import { createSeenKeys, SeenKeys } from '../mesh/identity/seen-keys.ts'
import type { Clock, ClockTimer } from '../mesh/runtime/clock.ts'
import type { Log } from '../mesh/runtime/log.ts'
import type { SealedPlace } from '../mesh/snapshot/read-frames.ts'
import { SavedDocument } from '../mesh/snapshot/saved-document.ts'
import type { GraceSettings } from './carry/grace-peers.ts'

const SECONDS_PER_DAY = 86_400
/** New peers are on the disk after this; a crash forgets those who came last, and they are refused once they have ended. */
const SAVE_INTERVAL_MS = 10_000
/** Peers told of by name; further ones are counted only. */
const MAX_NAMED_PEERS = 1000

/** What it is made of. */
export interface CertificateGraceOptions {
  readonly days: number
  readonly place: () => Promise<SealedPlace>
  readonly clock: Clock
  readonly log: Log
}

/** start() … close(). */
export class NodeCertificateGrace {
  /** For every worker; null: off. */
  readonly settings: GraceSettings | null
  /** Tunnels that stood only by grace, since the start. */
  connectionCount = 0
  readonly #options: CertificateGraceOptions
  readonly #keys: SeenKeys | null
  readonly #document: SavedDocument
  readonly #named = new Set<string>()
  #savedVersion = 0
  #timer: ClockTimer | null = null

  constructor(options: CertificateGraceOptions) {
    const { days, place, clock, log } = options
    this.#options = options
    const seenKeys = days === 0 ? null : createSeenKeys()
    this.settings = seenKeys === null ? null : { graceSeconds: days * SECONDS_PER_DAY, seenKeys }
    this.#keys = seenKeys === null ? null : new SeenKeys(seenKeys)
    const content = (): unknown => ({ keys: this.#keys?.save() })
    this.#document = new SavedDocument({ what: 'keys of peers', place, content, clock, log })
  }

  /** Reads what an earlier run has left: before the first handshake. Never rejects. */
  async start(): Promise<void> {
    if (this.#keys === null) return
    const found = await this.#document.load()
    if (found !== null) this.#keys.load((found.content as { keys: string }).keys) // as: its MAC says that we wrote it
    this.#savedVersion = this.#keys.version
    this.#startTimer()
  }

  /** A worker has let a peer in by grace. */
  onConnection(identity: string): void {
    this.connectionCount++
    if (this.#named.has(identity) || this.#named.size >= MAX_NAMED_PEERS) return
    this.#named.add(identity)
    this.#options.log.warn(
      { reason: 'CERT_GRACE', identity, days: this.#options.days },
      'a peer whose certificate has expired is let in',
    )
  }

  /** What the workers have seen is on the disk. */
  async close(): Promise<void> {
    if (this.#keys === null) return
    this.#timer?.cancel()
    this.#saveNew(this.#keys)
    await this.#document.close()
  }

  #startTimer(): void {
    this.#timer = this.#options.clock.startTimer(SAVE_INTERVAL_MS, () => {
      if (this.#keys !== null) this.#saveNew(this.#keys)
      this.#startTimer()
    })
  }

  #saveNew(keys: SeenKeys): void {
    if (keys.version === this.#savedVersion) return
    this.#savedVersion = keys.version
    this.#document.changed()
  }
}
