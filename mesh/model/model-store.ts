// SPDX-License-Identifier: Apache-2.0
// The model of the node, once per process, replaced as a whole by whatever source there is.

import type { Log } from '../runtime/log.ts'
import { type MeshConfig, MeshState } from './mesh-state.ts'

/** The current model. */
export class ModelStore {
  readonly #log: Log
  readonly #onChange: (state: MeshState, previous: MeshState | null) => void
  #state: MeshState | null = null

  /** `onChange` is called with every new model and the one before it. */
  constructor(log: Log, onChange: (state: MeshState, previous: MeshState | null) => void) {
    this.#log = log
    this.#onChange = onChange
  }

  /** null until a first good configuration came. */
  get state(): MeshState | null {
    return this.#state
  }

  /** Puts a configuration in force. */
  replace(config: MeshConfig): void {
    const previous = this.#state
    const state = new MeshState(config, (previous?.version ?? 0) + 1, previous)
    this.#state = state
    const { version, workloads, services, policies } = state
    this.#log.info(
      { version, workloads: workloads.length, services: services.length, policies: policies.length },
      'configuration in force',
    )
    this.#onChange(state, previous)
  }
}
