// SPDX-License-Identifier: Apache-2.0
// The controller put together: watch → translate → publish, and the CA beside it, behind one gRPC server.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { MeshError } from '../mesh/errors/mesh-error.ts'
import { isRefusal } from '../mesh/errors/refusal.ts'
import type { CallMetadata, CallPeer } from '../mesh/grpc/calls.ts'
import { GrpcServer } from '../mesh/grpc/server.ts'
import type { Clock } from '../mesh/runtime/clock.ts'
import type { Log } from '../mesh/runtime/log.ts'
import { ControllerAdmin } from './admin.ts'
import { type Attestor, anyAttestor, nodeCertificateAttestor } from './ca/attestation.ts'
import { AuditLog, openAuditFile } from './ca/audit.ts'
import { awaitAuthority } from './ca/await-authority.ts'
import { caMethod, wireError } from './ca/ca-server.ts'
import { RevocationRegister } from './ca/crl.ts'
import { openJoinTokenDirectory } from './ca/join-token-directory.ts'
import { enrolmentsOf, type JoinTokenStore, joinTokenAttestor } from './ca/join-tokens.ts'
import type { KeyStore } from './ca/key-store.ts'
import { type OpenedAuthority, openAuthority } from './ca/open-authority.ts'
import { purgeJoinTokens } from './ca/purge-join-tokens.ts'
import type { RootAuthority } from './ca/root-authority.ts'
import type { SigningAuthority } from './ca/signing.ts'
import type { ControllerConfig } from './config.ts'
import { edgeMethod } from './edges/edge-service.ts'
import { EdgeStore } from './edges/edge-store.ts'
import { LeaderDuties, type LeaderDuty, type LeaderElection, soleLeader } from './leader.ts'
import type { MeshView } from './mesh-view.ts'
import { controllerMetrics } from './metrics.ts'
import { DeltaServer, type DiscoveryCaller } from './publish/delta-server.ts'
import { Publisher } from './publish/publisher.ts'
import { RevocationFeed } from './publish/revocation-feed.ts'
import { ServerCertificate } from './server-certificate.ts'
import { openKeys } from './sources.ts'
import { StatusServer } from './status-server.ts'
import { Translator } from './translate/translate.ts'
import type { Translation } from './translate/translation.ts'
import type { ConfigSource } from './watch/config-source.ts'
import { ConfigStore } from './watch/config-store.ts'
import type { ObjectWriter } from './watch/object-writer.ts'

/** The others are in the admin API. */
const MAX_LOGGED_MISTAKES = 5
/** Calls under way have so long when the controller stops. */
const STOP_GRACE_MS = 1000

/** What a controller is made of. */
export interface AppOptions {
  readonly config: ControllerConfig
  readonly source: ConfigSource
  /** Default: in the state directory. */
  readonly joinTokens?: JoinTokenStore
  /** Default: the CA's directory. */
  readonly keys?: KeyStore
  /** Default: this replica has no others. */
  readonly election?: LeaderElection
  /** Changes the configuration; default: that is done without us. */
  readonly objects?: ObjectWriter | null
  /** What is done by one replica only, besides what the controller itself needs. */
  readonly duties?: (mesh: MeshView, log: Log, serverRootsPem: () => Promise<string>) => readonly LeaderDuty[]
  /** Called when everything else has stopped. */
  readonly close?: () => Promise<void>
  /** Who is believed besides nodes that joined: service accounts, where there is an apiserver. */
  readonly attestors?: (store: ConfigStore) => readonly Attestor[]
  readonly clock: Clock
  readonly log: Log
}

/** What start() opens. */
interface Parts {
  readonly authority: OpenedAuthority
  readonly audit: AuditLog
  readonly certificate: ServerCertificate
  readonly server: GrpcServer
}

const NO_TRANSLATION: Translation = {
  workloads: new Map(),
  services: new Map(),
  authorizations: new Map(),
  routes: new Map(),
  trafficPolicies: new Map(),
  requestPolicies: new Map(),
  requestTelemetry: new Map(),
  waypointScopes: new Map(),
  routeStates: [],
  findings: [],
  enforcement: [],
}

export class App {
  readonly config: ControllerConfig
  readonly store: ConfigStore
  readonly delta: DeltaServer
  readonly joinTokens: JoinTokenStore
  readonly revocations: RevocationRegister
  readonly revocationFeed: RevocationFeed
  readonly leader: LeaderDuties
  /** Who talks to whom. */
  readonly edges: EdgeStore
  /** The newest result. */
  translation: Translation = NO_TRANSLATION
  readonly #options: AppOptions
  readonly #translator: Translator
  readonly #attestors: readonly Attestor[]
  readonly #keys: KeyStore
  readonly #admin: ControllerAdmin
  readonly #status: StatusServer
  /** Told of every translation. */
  readonly #listeners = new Set<() => void>()
  #parts: Parts | null = null
  /** Why there is no CA yet, in words; empty when there is, or nobody has asked. */
  #waitsFor = ''

  constructor(options: AppOptions) {
    const { config, clock, log } = options
    this.config = config
    this.#options = options
    this.edges = new EdgeStore(clock)
    this.store = new ConfigStore(
      clock,
      () => this.#translate(),
      (all) => {
        const errors = all.filter(({ severity }) => severity === 'error')
        if (errors.length > 0)
          log.error(
            { count: errors.length, first: errors.slice(0, MAX_LOGGED_MISTAKES) },
            'mistakes in the configuration',
          )
      },
    )
    this.#translator = new Translator({
      ...config,
      // In a cluster the agents of the nodes annotate what they enrol.
      enrolmentIsTold: config.configSource === 'kubernetes',
    })
    this.delta = new DeltaServer({
      publisher: new Publisher(),
      authenticate: (metadata, peer) => this.#authenticate(metadata, peer),
      clock,
      log,
    })
    this.joinTokens = options.joinTokens ?? openJoinTokenDirectory(join(config.stateDirectory, 'join-tokens'))
    this.#keys = options.keys ?? openKeys(config)
    this.revocations = new RevocationRegister({
      store: this.#keys,
      clock,
      signers: async () => (await this.#parts?.authority.listSigners()) ?? [],
    })
    this.revocationFeed = new RevocationFeed({
      lists: () => this.revocations.lists(),
      publish: (crl) => this.delta.publishRevocations(crl),
      ...{ clock, log },
    })
    const purge = purgeJoinTokens({ store: this.joinTokens, clock, log })
    const roots = (): Promise<string> => this.serverRootsPem()
    const duties = [purge, ...(options.duties?.(this.#meshView(), log, roots) ?? [])]
    this.leader = new LeaderDuties(options.election ?? soleLeader(), duties, log)
    this.#attestors = [
      ...(options.attestors?.(this.store) ?? []),
      nodeCertificateAttestor({
        trustDomain: config.trustDomain,
        enrolments: enrolmentsOf(this.joinTokens),
        revocations: this.revocations,
      }),
    ]
    this.#admin = new ControllerAdmin(this)
    this.#status = new StatusServer({
      pending: () => this.pending(),
      metrics: () => controllerMetrics(this, process.memoryUsage.rss()),
    })
  }

  /** Serves once the source was read. @throws MeshError when the key or the port cannot be used */
  async start(): Promise<void> {
    const { config, source, clock, log } = this.#options
    const { stateDirectory, trustDomain, serverNames, listenHost: host, listenPort: port } = config
    await mkdir(stateDirectory, { recursive: true, mode: 0o700 })
    const authority = await awaitAuthority(
      () => openAuthority({ config, store: this.#keys, clock, log }),
      clock,
      (error) => this.#onWaiting(error),
    )
    this.#waitsFor = ''
    const audit = new AuditLog(await openAuditFile(join(stateDirectory, 'audit.log')), (count, err) =>
      log.error({ count, err }, 'audit records are lost'),
    )
    const certificate = await ServerCertificate.create({
      signer: authority.server,
      names: serverNames.split(',').filter((name) => name !== ''),
      clock,
      log,
    })
    const attestor = anyAttestor([...this.#attestors, joinTokenAttestor(this.joinTokens, trustDomain)])
    const server = await GrpcServer.start({
      ...{ host, port, identity: certificate.identity, clock },
      methods: [
        this.delta.method,
        caMethod({ trustDomain, attestor, authority: authority.signing, audit, clock }),
        edgeMethod({ authenticate: (...call) => this.#authenticate(...call), store: this.edges, clock }),
      ],
      onDefect: (path, err) => log.error({ path, err }, 'a defect in a method'),
    })
    this.#parts = { authority, audit, certificate, server }
    certificate.start((identity) => server.replaceIdentity(identity))
    await this.#admin.listen(config.adminSocket)
    if (config.statusPort !== 0) await this.#status.listen(config.statusPort) // perhaps it listens already
    source.start(this.store)
    this.revocationFeed.start()
    this.leader.start()
    log.info({ port: server.port, source: source.name }, 'controller started')
  }

  /** Where it listens; 0 before start(). */
  get port(): number {
    return this.#parts?.server.port ?? 0
  }

  /** Who signs. @throws MeshError before start() */
  get authority(): SigningAuthority {
    return this.#started.authority.signing
  }

  /** Our own root. @throws MeshError CA_ELSEWHERE when another CA signs */
  get root(): RootAuthority {
    const { root, signing } = this.#started.authority
    if (root === null)
      throw new MeshError('CA_ELSEWHERE', { detail: `${signing.name} signs: its root is replaced there` })
    return root
  }

  /** What the controller's own certificate is verified with. @throws MeshError before start() */
  serverRootsPem(): Promise<string> {
    return this.#started.authority.serverRootsPem()
  }

  /** @throws MeshError before start() */
  get audit(): AuditLog {
    return this.#started.audit
  }

  /** Changes the configuration. @throws MeshError REQUEST_INVALID where that is done without us */
  get objects(): ObjectWriter {
    const { objects, source } = this.#options
    if (objects) return objects
    throw new MeshError('REQUEST_INVALID', { detail: `the configuration is changed in the ${source.name}` })
  }

  get nowMs(): number {
    return this.#options.clock.nowMs
  }

  /** Who asks for the state of one that waits is answered; nobody else is served yet. */
  async #onWaiting({ code, detail }: MeshError): Promise<void> {
    const { config, log } = this.#options
    const waitsFor = `${code}: ${detail}`
    if (waitsFor === this.#waitsFor) return
    this.#waitsFor = waitsFor
    log.error({ reason: code, detail }, 'the keys of the CA cannot be read yet; it tries again')
    if (config.statusPort !== 0) await this.#status.listen(config.statusPort)
  }

  /** What readiness waits for; empty = ready. */
  pending(): string[] {
    if (this.#waitsFor !== '') return [`the keys of the CA cannot be read: ${this.#waitsFor}`]
    const { isSynced, mistakes, unreachable } = this.store.state
    if (isSynced) return []
    const errors = mistakes.filter(({ severity }) => severity === 'error').length
    const why =
      unreachable !== null ? `: ${unreachable}` : errors > 0 ? `: ${errors} mistakes, see /findings` : ''
    return [`${this.#options.source.name} was not read as a whole yet${why}`]
  }

  async stop(): Promise<void> {
    // First, so that another replica leads while calls here still come to their end.
    await this.leader.stop()
    await this.revocationFeed.stop()
    await this.#options.source.stop()
    this.delta.close()
    await Promise.all([this.#admin.close(), this.#status.close()])
    const parts = this.#parts
    this.#parts = null
    if (parts !== null) {
      parts.certificate.close()
      await parts.server.stop(STOP_GRACE_MS)
      parts.authority.close()
      await parts.audit.close()
    }
    await this.#options.close?.()
  }

  get #started(): Parts {
    if (this.#parts === null) throw new MeshError('INTERNAL', { detail: 'not started' })
    return this.#parts
  }

  #meshView(): MeshView {
    const isTranslated = (): boolean => this.translation !== NO_TRANSLATION
    const translation = (): Translation => this.translation
    return {
      objects: this.store,
      get translation() {
        return translation()
      },
      get isTranslated() {
        return isTranslated()
      },
      clients: () => this.delta.clients(),
      onTranslated: (listener) => {
        this.#listeners.add(listener)
        return () => this.#listeners.delete(listener)
      },
    }
  }

  #translate(): void {
    const { log } = this.#options
    const startMs = performance.now()
    this.translation = this.#translator.translate(this.store)
    this.delta.publish(this.translation)
    const { workloads, services, authorizations, findings } = this.translation
    log.info(
      {
        ...{ workloads: workloads.size, services: services.size, authorizations: authorizations.size },
        ...{ findings: findings.length, ms: Math.round(performance.now() - startMs) },
      },
      'published',
    )
    for (const listener of this.#listeners) listener()
  }

  /** A join token buys a certificate and nothing else: with it nobody follows the configuration. */
  async #authenticate(metadata: CallMetadata, peer: CallPeer): Promise<DiscoveryCaller> {
    const attestor = anyAttestor(this.#attestors)
    const { nowMs } = this.#options.clock
    const caller = await attestor.attest({ metadata, peer, nowMs }).catch((cause: unknown) => {
      throw cause instanceof MeshError ? wireError(cause) : cause
    })
    if (caller === null) throw new MeshError('IDENTITY_MISSING', { detail: 'neither token nor certificate' })
    if (isRefusal(caller)) throw new MeshError(caller.code, { detail: caller.detail })
    const { node, account, accounts = [account] } = caller
    return { node, accounts, description: account }
  }
}
