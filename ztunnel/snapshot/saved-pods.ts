// SPDX-License-Identifier: Apache-2.0
// The pods of this node and the labels of their namespaces, as the apiserver told them last: a supervisor that starts serves
// them at once, also while no apiserver answers. They have no age: only a pod whose processes run is found by its uid.
import type { RawMap } from '../../mesh/kubernetes/raw-map.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import type { SealedPlace } from '../../mesh/snapshot/read-frames.ts'
import { SavedDocument } from '../../mesh/snapshot/saved-document.ts'
import type { AgentPod } from '../supervisor/enroll/decide-enrolment.ts'

/** What was told. */
export interface PodList {
  readonly pods: readonly AgentPod[]
  /** Labels by namespace. */
  readonly namespaces: Readonly<Record<string, RawMap>>
}

/** What it is made of. */
export interface SavedPodsOptions {
  readonly place: () => Promise<SealedPlace>
  readonly clock: Clock
  readonly log: Log
}

/** load() → changed() … close(). */
export class SavedPods {
  readonly #document: SavedDocument
  #list: () => PodList = () => ({ pods: [], namespaces: {} })

  constructor({ place, clock, log }: SavedPodsOptions) {
    this.#document = new SavedDocument({ what: 'pods', place, content: () => this.#list(), clock, log })
  }

  /** What an earlier run has left; null: nothing. Never rejects. */
  async load(): Promise<PodList | null> {
    const found = await this.#document.load()
    return found === null ? null : (found.content as PodList) // as: its MAC says that we wrote it
  }

  /** There are other pods; `list` is asked for them when they are written. */
  changed(list: () => PodList): void {
    this.#list = list
    this.#document.changed()
  }

  /** Resolves when all is written. */
  close(): Promise<void> {
    return this.#document.close()
  }
}
