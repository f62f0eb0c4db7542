// SPDX-License-Identifier: Apache-2.0
// Keys and certificates of this node's workloads, for a start while no CA answers. The only copy outside the memory of the
// process. What has expired, and is not in grace, is neither given nor kept, nor is what no pod of this run has asked for.
import type { WorkloadCertificate } from '../identity/certificate.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Log } from '../runtime/log.ts'
import type { SealedPlace } from './read-frames.ts'
import { SavedDocument } from './saved-document.ts'

/** Pods that have not come back by then are gone, and so are their keys. */
const CLAIM_TIME_MS = 600_000

/** What it is made of. */
export interface SavedCertificatesOptions {
  readonly place: () => Promise<SealedPlace>
  /** Those of the process now. */
  readonly current: () => readonly WorkloadCertificate[]
  /** So long after its end a certificate is still given and kept. Default 0. */
  readonly graceMs?: number
  readonly clock: Clock
  readonly log: Log
}

/** The file: roots are the same for nearly all, so they are there once. */
interface Content {
  readonly bundles: readonly (readonly string[])[]
  readonly certificates: readonly (Omit<WorkloadCertificate, 'rootsPem'> & { readonly bundle: number })[]
}

export class SavedCertificates {
  readonly #options: SavedCertificatesOptions
  readonly #document: SavedDocument
  #found: ReadonlyMap<string, WorkloadCertificate> = new Map()
  #startedMs = 0

  constructor(options: SavedCertificatesOptions) {
    this.#options = options
    const { place, clock, log } = options
    const content = (): Content => packCertificates(this.#kept())
    this.#document = new SavedDocument({ what: 'certificates', place, content, clock, log })
  }

  /** The disk did not take them when it was tried. */
  get isUnsaved(): boolean {
    return this.#document.isUnsaved
  }

  /** Reads what an earlier run has left. Never rejects. */
  async start(): Promise<void> {
    const { clock } = this.#options
    this.#startedMs = clock.nowMs
    const found = await this.#document.load()
    if (found === null) return
    const certificates = unpackCertificates(found.content as Content) // as: its MAC says that we wrote it
    this.#found = new Map(certificates.map((each) => [each.identity, each]))
  }

  /** The saved certificate of an identity while it is valid, or in grace. */
  of(identity: string): WorkloadCertificate | undefined {
    const certificate = this.#found.get(identity)
    return certificate !== undefined && this.#isUsable(certificate) ? certificate : undefined
  }

  /** Certificates came or went. */
  changed(): void {
    this.#document.changed()
  }

  /** Resolves when all is written. */
  close(): Promise<void> {
    return this.#document.close()
  }

  #kept(): readonly WorkloadCertificate[] {
    const { clock, current } = this.#options
    if (Math.abs(clock.nowMs - this.#startedMs) > CLAIM_TIME_MS) this.#found = new Map()
    const kept = new Map(this.#found)
    for (const certificate of current()) kept.set(certificate.identity, certificate)
    return [...kept.values()].filter((certificate) => this.#isUsable(certificate))
  }

  #isUsable({ notAfterMs }: WorkloadCertificate): boolean {
    const { clock, graceMs = 0 } = this.#options
    return clock.nowMs < notAfterMs + graceMs
  }
}

/** As they are in the file. */
export function packCertificates(certificates: readonly WorkloadCertificate[]): Content {
  const numbers = new Map<string, number>()
  const bundles: (readonly string[])[] = []
  return {
    bundles,
    certificates: certificates.map(({ rootsPem, ...rest }) => {
      const bundle = numbers.get(rest.trustBundleId) ?? bundles.push(rootsPem) - 1
      numbers.set(rest.trustBundleId, bundle)
      return { ...rest, bundle }
    }),
  }
}

/** As they were. */
export function unpackCertificates({ bundles, certificates }: Content): WorkloadCertificate[] {
  return certificates.map(({ bundle, ...rest }) => ({ ...rest, rootsPem: bundles[bundle] ?? [] }))
}
