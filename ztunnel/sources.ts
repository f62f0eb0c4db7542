// SPDX-License-Identifier: Apache-2.0
// Where the model and certificates of this process come from, as configured: files and an embedded CA, or controllers.
// What speaks gRPC is loaded only when a controller is named.

import type { ControllerLink } from '../mesh/control/controller-link.ts'
import { Demand } from '../mesh/discovery/demand.ts'
import type { DiscoveryClientOptions } from '../mesh/discovery/discovery-client.ts'
import type { DiscoveryJournal } from '../mesh/discovery/discovery-journal.ts'
import type { CertificateIssuer } from '../mesh/identity/ca-client.ts'
import type { CertificateRequests } from '../mesh/identity/certificate-requests.ts'
import type { CertificateStatus } from '../mesh/identity/secret-manager.ts'
import { systemClock } from '../mesh/runtime/clock.ts'
import type { Log } from '../mesh/runtime/log.ts'
import type { TransientWorker } from '../mesh/runtime/transient-worker.ts'
import type { Edge } from '../mesh/telemetry/edge.ts'
import type { BackgroundMethods } from './background-worker.ts'
import type { ZtunnelConfig } from './config.ts'
import type { EdgeReporter } from './edges/edge-reporter.ts'
import { discoveryNode, ModelDiscovery } from './model-discovery.ts'
import { ModelFile } from './model-file.ts'
import type { ModelSource, OnModelConfig } from './model-source.ts'

/** Hears the sources. */
export interface SourceHandler {
  readonly onConfig: OnModelConfig
  /** Lists of a controller, DER each, unverified. */
  readonly onRevocations: (lists: readonly Buffer[]) => void
  /** What was counted of all connections, by edge: a controller is told. */
  readonly edges: () => ReadonlyMap<string, Edge>
  /** As DiscoveryDemand has them. */
  readonly onAnswers: () => void
  readonly onAgeing: () => void
  /** Keeps the configuration of a controller. */
  readonly journal: DiscoveryJournal | null
}

type Background = TransientWorker<BackgroundMethods>

/** The sources; start() before the first question. */
export class Sources {
  readonly model: ModelSource
  readonly issuer: CertificateIssuer
  readonly requests: CertificateRequests
  readonly #config: ZtunnelConfig
  readonly #log: Log
  readonly #background: Background
  readonly #handler: SourceHandler
  #edges: EdgeReporter | null = null
  #link: Promise<ControllerLink> | null = null
  /** The link once it is there. */
  #opened: ControllerLink | null = null

  constructor(config: ZtunnelConfig, background: Background, log: Log, handler: SourceHandler) {
    this.#config = config
    this.#log = log
    this.#background = background
    this.#handler = handler
    this.requests = {
      begin: (identity) => background.call('begin', identity),
      finish: (...answer) => background.call('finish', ...answer),
    }
    const ca = { directory: config.caDirectory, trustDomain: config.trustDomain }
    this.issuer =
      config.caDirectory === ''
        ? { issue: async (...request) => (await this.#openLink()).issuer.issue(...request) }
        : { issue: (...request) => background.call('issue', ca, ...request) }
    this.model = config.configFile === '' ? this.#controller(handler) : this.#file(handler)
  }

  async start(): Promise<void> {
    const { caDirectory, trustDomain, controllerAddresses } = this.#config
    await Promise.all([
      controllerAddresses === '' ? null : this.#startEdges(),
      caDirectory === '' ? this.#openLink() : this.#background.call('openCa', caDirectory, trustDomain),
      this.model.start(),
    ])
  }

  /** The node's own certificate; null for one that has none. */
  nodeCertificate(): CertificateStatus | null {
    return this.#opened?.nodeCertificate() ?? null
  }

  /** Resolves when the controller knows the last of who talked to whom, or does not take it. */
  async close(): Promise<void> {
    this.model.close()
    await this.#edges?.close()
    void this.#link?.then((link) => link.close())
  }

  async #startEdges(): Promise<void> {
    const { EdgeReporter: Reporter } = await import('./edges/edge-reporter.ts')
    this.#edges = new Reporter({
      edges: this.#handler.edges,
      send: async (report) => await (await this.#openLink()).reportEdges(report),
      ...{ clock: systemClock, random: Math.random, log: this.#log },
    })
    this.#edges.start()
  }

  #file({ onConfig }: SourceHandler): ModelSource {
    const { configFile: file, trustDomain } = this.#config
    return new ModelFile({
      parse: (text, options) => this.#background.call('parseConfig', text, options),
      ...{ file, trustDomain, clock: systemClock, log: this.#log, onConfig },
    })
  }

  #controller(handler: SourceHandler): ModelSource {
    const { journal, onConfig, onRevocations } = handler
    const { onDemand, nodeName, network } = this.#config
    const keys = onDemand ? new Demand(nodeName) : null
    const options = async (): Promise<DiscoveryClientOptions> => {
      const { parseAddresses } = await import('../mesh/control/controller-link.ts')
      return {
        addresses: parseAddresses(this.#config.controllerAddresses),
        node: discoveryNode(this.#config),
        credentials: async () => (await this.#openLink()).credentials(),
        clock: systemClock,
        random: Math.random,
        log: this.#log,
        ...{ onConfig, onRevocations },
        ...(journal === null ? {} : { journal }),
        ...(keys === null
          ? {}
          : { demand: { keys, onAnswers: handler.onAnswers, onAgeing: handler.onAgeing } }),
      }
    }
    return new ModelDiscovery(options, keys === null ? null : { keys, network })
  }

  #openLink(): Promise<ControllerLink> {
    this.#link ??= this.#createLink()
    return this.#link
  }

  async #createLink(): Promise<ControllerLink> {
    const { controllerAddresses, caAddresses, controllerRoots, controllerToken } = this.#config
    const { clusterId, stateDirectory, nodeName, trustDomain } = this.#config
    const { ControllerLink: Link, parseAddresses } = await import('../mesh/control/controller-link.ts')
    const link = new Link({
      caAddresses: parseAddresses(caAddresses === '' ? controllerAddresses : caAddresses),
      controllerAddresses: parseAddresses(controllerAddresses),
      rootsFile: controllerRoots,
      tokenFile: controllerToken,
      ...{ clusterId, stateDirectory, nodeName, trustDomain, requests: this.requests },
      ...{ clock: systemClock, random: Math.random, log: this.#log },
    })
    this.#opened = link
    await link.start()
    return link
  }
}
