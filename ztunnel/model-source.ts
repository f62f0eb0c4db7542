// SPDX-License-Identifier: Apache-2.0
// Where a ztunnel's model comes from: a file, or a controller.
import type { MeshConfig } from '../mesh/model/mesh-state.ts'
import type { DemandSource } from './demanded-destinations.ts'

export interface ModelSource {
  /** Begins to read; resolves when the first attempt has been made or the source is being followed. */
  start(): Promise<void>
  close(): void
  /** What could not be taken, one line each; empty when all is in force. */
  readonly findings: readonly string[]
  /** When what made the current configuration was received, epoch ms; null: not known. */
  readonly receivedMs: number | null
  /** How old the configuration in force is when it is one that was saved; null: it is not. */
  readonly snapshotAgeSeconds: number | null
  /** So long no controller has answered, 0 while one does; null: the source is none. */
  readonly disconnectedSeconds: number | null
  /** Not null: only what is asked for is known. */
  readonly demand: DemandSource | null
  /** For the admin API. */
  status(): Readonly<Record<string, unknown>>
}

/** Hears a source. */
export type OnModelConfig = (config: MeshConfig) => void
