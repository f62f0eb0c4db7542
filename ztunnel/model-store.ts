// SPDX-License-Identifier: Apache-2.0
// The model of the node, once per process: read from the configuration file, replaced as a whole. A broken file
// changes nothing: the last good one stays in force and the findings are kept for the admin API.
import { formatFinding } from '../mesh/model/finding.ts'
import type { ConfigFindings, LocalConfig, LocalConfigOptions } from '../mesh/model/local-config.ts'
import { MeshState } from '../mesh/model/mesh-state.ts'
import type { Clock } from '../mesh/runtime/clock.ts'
import type { Log } from '../mesh/runtime/log.ts'
import { WatchedFile } from '../mesh/runtime/watched-file.ts'

/** What a store is made of. */
export interface ModelStoreOptions {
  readonly file: string
  readonly trustDomain: string
  readonly clock: Clock
  readonly log: Log
  /** parseLocalConfig, wherever it runs. */
  readonly parse: (text: string, options: LocalConfigOptions) => Promise<LocalConfig | ConfigFindings>
  /** Called with every new model. */
  readonly onChange: (state: MeshState) => void
}

/** The current model. */
export class ModelStore {
  readonly #options: ModelStoreOptions
  readonly #file: WatchedFile
  #state: MeshState | null = null
  #version = 0
  #findings: readonly string[] = []

  constructor(options: ModelStoreOptions) {
    this.#options = options
    this.#file = new WatchedFile(options.file, options.clock, {
      onContent: (text) => this.#onContent(text),
      onUnreadable: (cause) =>
        options.log.error({ reason: 'CONFIG_INVALID', err: cause }, 'configuration unreadable'),
    })
  }

  /** null until a first good configuration was read. */
  get state(): MeshState | null {
    return this.#state
  }
  /** Mistakes of the newest file, one line each; empty when it is in force. */
  get findings(): readonly string[] {
    return this.#findings
  }

  start(): Promise<void> {
    return this.#file.start()
  }

  close(): void {
    this.#file.close()
  }

  async #onContent(text: string): Promise<void> {
    const { file, trustDomain, log, parse } = this.#options
    const config = await parse(text, { file, trustDomain, serviceAccount: 'default' })
    if (config.kind === 'findings') {
      this.#findings = config.findings.map(formatFinding)
      log.error(
        { reason: 'CONFIG_INVALID', findings: this.#findings },
        'configuration refused, the last one stays',
      )
      return
    }
    this.#findings = []
    this.#state = new MeshState(config, ++this.#version)
    const { workloads, services, policies } = this.#state
    log.info(
      {
        version: this.#version,
        workloads: workloads.length,
        services: services.length,
        policies: policies.length,
      },
      'configuration in force',
    )
    this.#options.onChange(this.#state)
  }
}
