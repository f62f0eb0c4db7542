// SPDX-License-Identifier: Apache-2.0
// What the data process keeps for a start without controller and CA, in the directory of the node's state. A node that has
// neither, because it reads files, keeps nothing.
import type { WorkloadCertificate } from '../identity/certificate.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Log } from '../runtime/log.ts'
import { ModelJournal, type ModelJournalOptions } from './model-journal.ts'
import { SavedCertificates } from './saved-certificates.ts'
import { type SealedOwner, sealedPlace } from './sealed-place.ts'

const MS_PER_DAY = 86_400_000

/** What it is told by the options of its process. */
export interface SnapshotConfig extends SealedOwner {
  /** '': nothing of a controller is kept. */
  readonly controllerAddresses: string
  /** Of a CA of the process's own; '': certificates are kept. */
  readonly caDirectory: string
  readonly certificateGraceDays: number
}

/** What it is made of. */
export interface NodeSnapshotOptions {
  readonly config: SnapshotConfig
  readonly compact: ModelJournalOptions['compact']
  readonly certificates: () => readonly WorkloadCertificate[]
  readonly clock: Clock
  readonly log: Log
}

export class NodeSnapshot {
  /** null: there is no controller. */
  readonly journal: ModelJournal | null
  readonly #certificates: SavedCertificates | null

  constructor({ config, compact, certificates: current, clock, log }: NodeSnapshotOptions) {
    const { controllerAddresses, caDirectory } = config
    const place = sealedPlace(config, 'model')
    this.journal = controllerAddresses === '' ? null : new ModelJournal({ place, compact, clock, log })
    this.#certificates =
      caDirectory === ''
        ? new SavedCertificates({
            ...{ place: sealedPlace(config, 'certificates'), current, clock, log },
            graceMs: config.certificateGraceDays * MS_PER_DAY,
          })
        : null
  }

  /** Before the first certificate is asked for. Never rejects. */
  async start(): Promise<void> {
    await this.#certificates?.start()
  }

  certificateOf(identity: string): WorkloadCertificate | undefined {
    return this.#certificates?.of(identity)
  }

  certificatesChanged(): void {
    this.#certificates?.changed()
  }

  /** Parts of what a cold start needs that the disk does not take. */
  get unsavedCount(): number {
    return [this.journal, this.#certificates].filter((part) => part?.isUnsaved).length
  }

  /** What came is on the disk. Before certificates are dropped from memory. */
  async close(): Promise<void> {
    await Promise.all([this.journal?.close(), this.#certificates?.close()])
  }
}
