// SPDX-License-Identifier: Apache-2.0
// Publishes the revocation lists as they are: another replica may have revoked, and a list is signed anew before it ends.
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import { Pause } from '../../mesh/runtime/pause.ts'

const LOOK_INTERVAL_MS = 5_000 // what another replica revoked is with all nodes within this

/** What a feed is made of. */
export interface RevocationFeedOptions {
  /** PEM, one list per root; empty where another CA signs them. @throws MeshError when the store is away */
  readonly lists: () => Promise<readonly string[]>
  readonly publish: (crl: Uint8Array | null) => void
  readonly clock: Clock
  readonly log: Log
}

export class RevocationFeed {
  readonly #options: RevocationFeedOptions
  readonly #pause: Pause
  #published: string | null = null
  #isStopped = false
  #isFailing = false
  #work: Promise<void> = Promise.resolve()

  constructor(options: RevocationFeedOptions) {
    this.#options = options
    this.#pause = new Pause(options.clock)
  }

  start(): void {
    this.#work = this.#run()
  }

  /** Looks at once: something was revoked here. */
  wake(): void {
    this.#pause.wake()
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.#pause.wake()
    await this.#work
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      await this.#look()
      if (!this.#isStopped) await this.#pause.wait(LOOK_INTERVAL_MS)
    }
  }

  async #look(): Promise<void> {
    const { lists, publish, log } = this.#options
    try {
      const text = (await lists()).join('')
      this.#isFailing = false
      if (text === this.#published) return
      publish(text === '' ? null : Buffer.from(text))
      this.#published = text
    } catch (err) {
      if (!(err instanceof MeshError)) throw err
      // What was published stays: a list that is a little old refuses more than none.
      if (!this.#isFailing)
        log.warn({ err, reason: err.code }, 'revocation lists cannot be made; the last ones stay')
      this.#isFailing = true
    }
  }
}
