// SPDX-License-Identifier: Apache-2.0
// The model from a file in the form of Istio's LOCAL_XDS_PATH, watched. A broken file changes nothing: the last good one
// stays in force and the findings are kept for the admin API.
import { formatFinding } from '../mesh/model/finding.ts'
import type { ConfigFindings, LocalConfig, LocalConfigOptions } from '../mesh/model/local-config.ts'
import type { Clock } from '../mesh/runtime/clock.ts'
import type { Log } from '../mesh/runtime/log.ts'
import { WatchedFile } from '../mesh/runtime/watched-file.ts'
import type { ModelSource, OnModelConfig } from './model-source.ts'

/** What a file source is made of. */
export interface ModelFileOptions {
  readonly file: string
  readonly trustDomain: string
  readonly clock: Clock
  readonly log: Log
  /** parseLocalConfig, wherever it runs. */
  readonly parse: (text: string, options: LocalConfigOptions) => Promise<LocalConfig | ConfigFindings>
  readonly onConfig: OnModelConfig
}

export class ModelFile implements ModelSource {
  readonly demand = null
  readonly #options: ModelFileOptions
  readonly #file: WatchedFile
  #findings: readonly string[] = []

  constructor(options: ModelFileOptions) {
    this.#options = options
    this.#file = new WatchedFile(options.file, options.clock, {
      onContent: (text) => this.#onContent(text),
      onUnreadable: (cause) =>
        options.log.error({ reason: 'CONFIG_INVALID', err: cause }, 'configuration unreadable'),
    })
  }

  get findings(): readonly string[] {
    return this.#findings
  }

  start(): Promise<void> {
    return this.#file.start()
  }

  close(): void {
    this.#file.close()
  }

  get receivedMs(): null {
    return null
  }

  get snapshotAgeSeconds(): null {
    return null
  }

  get disconnectedSeconds(): null {
    return null
  }

  status(): Readonly<Record<string, unknown>> {
    return { kind: 'file', file: this.#options.file }
  }

  async #onContent(text: string): Promise<void> {
    const { file, trustDomain, log, parse, onConfig } = this.#options
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
    onConfig(config)
  }
}
