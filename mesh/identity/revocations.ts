// SPDX-License-Identifier: Apache-2.0
// The revocation lists in force on this node. A list counts once a CA that the node's workloads believe has signed it, and
// from then on until the same CA signs a newer one: time does not take a revocation back, so a list that is past its end
// stays, as does one from a clock that is ahead. What came is kept in a file: a restart refuses before any controller answers.
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrno } from '../errors/errno.ts'
import { isRefusal } from '../errors/refusal.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Log } from '../runtime/log.ts'
import type { WorkloadCertificate } from './certificate.ts'
import {
  fingerprintOf,
  joinRevocationLists,
  type ListIssuer,
  listIssuersOf,
  MAX_REVOCATION_LISTS,
  MAX_REVOCATIONS_BYTES,
  type RevocationList,
  splitRevocationLists,
  verifyRevocationList,
} from './revocation-list.ts'
import { RevokedSet, shareRevoked } from './revoked-set.ts'

const FILE = 'revocations.pem'
/** Replicas of a controller sign with clocks that differ: so much older a list may be than the one it replaces. */
const CLOCK_TOLERANCE_MS = 300_000

/** What the lists are made of. */
export interface RevocationsOptions {
  /** Holds the file; made if it is missing. */
  readonly directory: string
  readonly clock: Clock
  readonly log: Log
  /** Other certificates than before are revoked: for `new RevokedSet()` of any thread. */
  readonly onChange: (memory: SharedArrayBuffer) => void
}

/** A list for people. Times are RFC 3339. */
export interface RevocationStatus {
  /** SHA-256 of the CA's certificate. */
  readonly issuer: string
  readonly thisUpdate: string
  /** null: the list says no end. */
  readonly nextUpdate: string | null
  /** It is past its end and stays in force. */
  readonly isOverdue: boolean
  readonly revoked: number
}

export class Revocations {
  readonly #options: RevocationsOptions
  readonly #issuers = new Map<string, ListIssuer>()
  readonly #bundles = new Set<string>()
  /** By issuer. */
  readonly #lists = new Map<string, RevocationList>()
  /** The last ones that nobody we believe has signed: perhaps a root that is still to come. */
  #undecided: readonly Buffer[] = []
  #set = new RevokedSet()
  #fingerprints = new WeakMap<WorkloadCertificate, Buffer>()
  #saving: Promise<void> = Promise.resolve()

  /** In force now; empty before the first list. */
  memory: SharedArrayBuffer = new SharedArrayBuffer(0)

  constructor(options: RevocationsOptions) {
    this.#options = options
  }

  /** Reads what an earlier run left. Never rejects. */
  async start(): Promise<void> {
    const { directory, log } = this.#options
    const path = join(directory, FILE)
    try {
      if ((await stat(path)).size > 2 * MAX_REVOCATIONS_BYTES) throw new Error('too long')
      const lists = splitRevocationLists(await readFile(path))
      if (isRefusal(lists)) throw new Error(lists.detail)
      this.#take(lists)
    } catch (err) {
      if (!isErrno(err, 'ENOENT')) log.error({ err }, 'the saved revocation lists are unreadable')
    }
  }

  /** Lists as a controller sent them. */
  receive(lists: readonly Buffer[]): void {
    this.#take(lists)
    this.#save()
  }

  /** A certificate of this node: its roots are believed from now on. Before anybody uses it. */
  believe(certificate: WorkloadCertificate): void {
    const bundle = [certificate.trustBundleId, ...certificate.chainPem.slice(1)].join()
    if (this.#bundles.has(bundle)) return
    this.#bundles.add(bundle)
    for (const issuer of listIssuersOf(certificate)) this.#issuers.set(issuer.id, issuer)
    if (this.#undecided.length > 0) this.#take(this.#undecided)
  }

  /** True when a certificate of this node is revoked. */
  isRevoked(certificate: WorkloadCertificate): boolean {
    const [leaf] = certificate.chainPem
    if (this.#set.size === 0 || leaf === undefined) return false
    const fingerprint = this.#fingerprints.get(certificate) ?? fingerprintOf(leaf)
    this.#fingerprints.set(certificate, fingerprint)
    return this.#set.has(fingerprint)
  }

  /** Lists that nobody we believe has signed. */
  get undecidedCount(): number {
    return this.#undecided.length
  }

  status(): readonly RevocationStatus[] {
    return [...this.#lists.values()].map(({ issuerId, thisUpdateMs, nextUpdateMs, revoked }) => ({
      issuer: issuerId,
      thisUpdate: new Date(thisUpdateMs).toISOString(),
      nextUpdate: nextUpdateMs === Number.POSITIVE_INFINITY ? null : new Date(nextUpdateMs).toISOString(),
      isOverdue: nextUpdateMs < this.#options.clock.nowMs,
      revoked: revoked.length,
    }))
  }

  /** What was received is on disk. */
  async close(): Promise<void> {
    await this.#saving
  }

  #take(lists: readonly Buffer[]): void {
    const { log } = this.#options
    const issuers = [...this.#issuers.values()]
    const undecided: Buffer[] = []
    for (const der of lists) {
      const list = verifyRevocationList(der, issuers)
      if (list === 'undecided') undecided.push(der)
      else if (isRefusal(list))
        log.error({ reason: list.code, detail: list.detail }, 'revocation list refused')
      else if (this.#isNewer(list)) this.#lists.set(list.issuerId, list)
    }
    this.#undecided = undecided
    if (undecided.length > 0 && issuers.length > 0)
      log.warn(
        { count: undecided.length },
        'revocation lists that no root of this node has signed are not in force',
      )
    this.#dropSurplus()
    this.#tell()
  }

  /** A list that was replaced does not come back; one of a clock that was far ahead keeps nobody out. */
  #isNewer({ issuerId, thisUpdateMs }: RevocationList): boolean {
    const known = this.#lists.get(issuerId)
    if (known === undefined || thisUpdateMs >= known.thisUpdateMs - CLOCK_TOLERANCE_MS) return true
    return known.thisUpdateMs > this.#options.clock.nowMs + CLOCK_TOLERANCE_MS
  }

  /** Roots come and go; the lists of those that are long gone are about nothing any more. */
  #dropSurplus(): void {
    const byAge = [...this.#lists.values()].toSorted((left, right) => right.thisUpdateMs - left.thisUpdateMs)
    for (const { issuerId } of byAge.slice(MAX_REVOCATION_LISTS)) this.#lists.delete(issuerId)
  }

  #tell(): void {
    const memory = shareRevoked([...this.#lists.values()].flatMap(({ revoked }) => revoked))
    if (Buffer.from(memory).equals(Buffer.from(this.memory))) return
    this.memory = memory
    this.#set = new RevokedSet(memory)
    const { onChange, log } = this.#options
    log.info({ revoked: this.#set.size, lists: this.#lists.size }, 'revoked certificates in force')
    onChange(memory)
  }

  /** One write after another; the last one has it all. */
  #save(): void {
    const lists = [...[...this.#lists.values()].map(({ der }) => der), ...this.#undecided]
    const text = joinRevocationLists(lists.slice(0, MAX_REVOCATION_LISTS))
    this.#saving = this.#saving
      .then(() => this.#write(text))
      .catch((err: unknown) => this.#options.log.error({ err }, 'revocation lists not saved'))
  }

  async #write(text: string): Promise<void> {
    const { directory } = this.#options
    const path = join(directory, FILE)
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await writeFile(`${path}.new`, text, { mode: 0o600, flush: true })
    await rename(`${path}.new`, path)
  }
}
