// SPDX-License-Identifier: Apache-2.0
// What every source of configuration does: Kubernetes, a directory, Redis. One suite tests them all
// (test/contract/config-source.ts).
import type { ConfigObject, ObjectRef } from './config-object.ts'
import type { SourceMistake } from './source-mistake.ts'

/** Hears a source. Calls are synchronous and come in the order in which things happened. */
export interface ConfigSink {
  /** Everything of one kind, as kindKey() names it: what is not in the list does not exist. */
  replace(kind: string, objects: readonly ConfigObject[]): void
  apply(object: ConfigObject): void
  remove(ref: ObjectRef): void
  /** What could not be read, all of it; the last good version of such objects stays in force. */
  mistakes(all: readonly SourceMistake[]): void
  /** Every kind was listed once: from now on the view is complete. Called once per start. */
  synced(): void
  /** The source cannot be reached (`detail` says why) or is back (null). What was read stays in force. */
  reachable(detail: string | null): void
}

/** A source. */
export interface ConfigSource {
  /** For people and metrics: `kubernetes`, `directory`, `redis`. */
  readonly name: string
  /** Begins to list and to watch; errors are told to the sink and tried again, never thrown. Once. */
  start(sink: ConfigSink): void
  /** Ends all work; after it resolves the sink hears nothing more. */
  stop(): Promise<void>
}
