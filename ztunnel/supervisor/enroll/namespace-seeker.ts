// SPDX-License-Identifier: Apache-2.0
// Seeks the network namespaces of the pods that need one: what is wanted in one breath in one look, and again, less and less
// often, while one is missing.
import { closeSync } from 'node:fs'
import { REASONS } from '../../../mesh/errors/reasons.ts'
import { Backoff } from '../../../mesh/runtime/backoff.ts'
import type { Clock, ClockTimer } from '../../../mesh/runtime/clock.ts'
import type { Log } from '../../../mesh/runtime/log.ts'
import { type FoundNamespaces, findPodNamespaces } from './pod-namespaces.ts'

/** First wait before a pod without a process is sought again. */
const SEEK_FIRST_MS = 50
/** A pod that belongs to the mesh and has no process yet is sought at least this often. */
const SEEK_MAX_MS = 2_000

/** Who wants namespaces. */
export interface SeekerHandler {
  /** The uids of all pods whose namespace is of interest now. */
  sought(): readonly string[]
  /** Some pod has no namespace yet. */
  isMissing(): boolean
  /** One was found; its descriptor is the handler's. */
  onFound(uid: string, fd: number): Promise<void>
}

/** What a seeker needs. */
export interface SeekerOptions {
  /** Where the processes of the node are seen. */
  readonly procPath: string
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly log: Log
}

/** soon() as often as there is something new; stop() ends it. */
export class NamespaceSeeker {
  readonly #options: SeekerOptions
  readonly #handler: SeekerHandler
  readonly #backoff: Backoff
  #isSeeking = false
  #isStopped = false
  #timer: ClockTimer | null = null
  #isBlind = false
  /** Pods of the last look whose processes keep their namespace from us. */
  denied: ReadonlySet<string> = new Set()

  constructor(options: SeekerOptions, handler: SeekerHandler) {
    this.#options = options
    this.#handler = handler
    const { random } = options
    this.#backoff = new Backoff({ initialMs: SEEK_FIRST_MS, maxMs: SEEK_MAX_MS, random })
  }

  /** Something has changed: looks now, and often again. */
  soon(): void {
    this.#backoff.reset()
    this.#timer?.cancel()
    this.#timer = null
    if (!this.#isSeeking) void this.#seek()
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  /** One look; descriptors of the caller, by uid. None where the processes of the node cannot be seen. */
  async find(uids: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return (await this.#look(uids)).found
  }

  async #look(uids: readonly string[]): Promise<FoundNamespaces> {
    const { procPath, log } = this.#options
    const none = { found: new Map(), denied: new Set<string>() }
    if (uids.length === 0) return none
    try {
      const seen = await findPodNamespaces(new Set(uids), procPath)
      this.#isBlind = false
      return seen
    } catch (err) {
      const { fix } = REASONS.POD_UNSEEN
      // Looked for every two seconds: said when it is news.
      if (!this.#isBlind)
        log.error({ err, procPath, reason: 'POD_UNSEEN', fix }, 'the processes of the node cannot be seen')
      this.#isBlind = true
      return none
    }
  }

  async #seek(): Promise<void> {
    this.#isSeeking = true
    // What is told in one breath is sought in one look.
    await new Promise((resolve) => setImmediate(resolve))
    const { found, denied } = await this.#look(this.#isStopped ? [] : this.#handler.sought())
    this.denied = denied
    this.#isSeeking = false
    for (const [uid, fd] of found)
      if (this.#isStopped) closeSync(fd)
      else await this.#handler.onFound(uid, fd)
    if (this.#isStopped || this.#isSeeking || !this.#handler.isMissing()) return
    this.#timer ??= this.#options.clock.startTimer(this.#backoff.next(), () => {
      this.#timer = null
      if (!this.#isSeeking) void this.#seek()
    })
  }
}
