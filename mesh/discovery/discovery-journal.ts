// SPDX-License-Identifier: Apache-2.0
// What a client of a controller keeps for the time when there is none: the responses that made its configuration.

/** A journal is read once, then written. Neither ever throws: a client goes on without it. */
export interface DiscoveryJournal {
  /**
   * Tells the responses of earlier runs in their order, as they came on the wire. Resolves with the time at which the
   * last controller was there, epoch ms; null when nothing of what was told may be used.
   */
  read(onResponse: (response: Buffer) => void): Promise<number | null>
  /** A response of the configuration has been applied. */
  append(response: Buffer): void
  /** A controller is there, and what is held is what it has to say; or that is over. */
  setConfirmed(isConfirmed: boolean): void
  /** Resolves when what was appended is written, or cannot be. */
  close(): Promise<void>
}
