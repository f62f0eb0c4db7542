// SPDX-License-Identifier: Apache-2.0
// The data process put together: supervisor's channel → pods → workers; model, certificates, records and admin
// around them. Ordinary async Node; the traffic itself is in the workers.

import { AdminServer } from '../mesh/admin/admin-server.ts'
import type { ReasonCode } from '../mesh/errors/reasons.ts'
import { handoverSocket } from '../mesh/generations/handover.ts'
import { UNKNOWN_HEALTH } from '../mesh/generations/node-health.ts'
import type { PodInfo, SupervisorMessage } from '../mesh/generations/pods.ts'
import { SupervisorLink } from '../mesh/generations/supervisor-link.ts'
import { Upgrades } from '../mesh/generations/upgrades.ts'
import { Revocations } from '../mesh/identity/revocations.ts'
import { SecretManager } from '../mesh/identity/secret-manager.ts'
import type { MeshState } from '../mesh/model/mesh-state.ts'
import { ModelStore } from '../mesh/model/model-store.ts'
import { BusyTrim } from '../mesh/reactor/busy-trim.ts'
import { QuietTrim } from '../mesh/reactor/quiet-trim.ts'
import { releaseFilePages, trimMemory } from '../mesh/reactor/trim-memory.ts'
import { systemClock } from '../mesh/runtime/clock.ts'
import type { Log } from '../mesh/runtime/log.ts'
import { TransientWorker } from '../mesh/runtime/transient-worker.ts'
import { NodeSnapshot } from '../mesh/snapshot/node-snapshot.ts'
import { sealedPlace } from '../mesh/snapshot/sealed-place.ts'
import { isTraced } from '../mesh/telemetry/connection-record.ts'
import { RecordWriter } from '../mesh/telemetry/record-writer.ts'
import type { SpanExporter } from '../mesh/tracing/span-exporter.ts'
import { drainRoutes } from './admin-drain.ts'
import { adminRoutes, statusRoutes } from './admin-routes.ts'
import type { BackgroundMethods } from './background-worker.ts'
import { Captures } from './capture/captures.ts'
import { NodeCertificateGrace } from './certificate-grace.ts'
import type { CertificateWatch } from './certificate-watch.ts'
import type { ZtunnelConfig } from './config.ts'
import { DemandedDestinations, isAddressKnown } from './demanded-destinations.ts'
import { DnsFailures } from './dns-failures.ts'
import { DrainedCounts } from './drained-counts.ts'
import { drainSocket } from './draining-generations.ts'
import { endAbandoned } from './end-abandoned.ts'
import { NodeEvents } from './events/node-events.ts'
import { GuardReports } from './guard-reports.ts'
import { MendedPods } from './mended-pods.ts'
import { ModelAnswers } from './model-answers.ts'
import { ModelProgress } from './model-progress.ts'
import { ProcessDrain } from './process-drain.ts'
import { ServedPods } from './served-pods.ts'
import { Sources } from './sources.ts'
import { unlistedWorkload } from './unlisted-workload.ts'
import { certificateMessage, watchCertificates } from './watch-certificates.ts'
import type { UpMessage } from './worker-messages.ts'
import { WorkerQuestions } from './worker-reports.ts'
import { WorkerSet } from './worker-set.ts'

/** Start-up garbage is collected this long after the process became ready. */
const TRIM_DELAY_MS = 500
/** What short connections needed is garbage this long after a drain began. */
const DRAIN_TRIM_DELAY_MS = 2000

const MS_PER_DAY = 86_400_000

const BACKGROUND = new URL('./background-worker.ts', import.meta.url)

/** The data process. */
export class App {
  readonly workers: WorkerSet
  readonly records: RecordWriter
  readonly events: NodeEvents
  readonly captures: Captures
  /** null: nobody traces. */
  spans: SpanExporter | null = null
  readonly model: ModelStore
  readonly sources: Sources
  readonly config: ZtunnelConfig
  readonly log: Log
  readonly #pods: ServedPods
  readonly #supervisor: SupervisorLink
  readonly #admin: AdminServer<App>
  readonly #status: AdminServer<App>
  /** Open while this process drains. */
  readonly #drainPage: AdminServer<App>
  readonly #background = new TransientWorker<BackgroundMethods>(BACKGROUND, trimMemory)
  readonly secrets: SecretManager
  readonly snapshot: NodeSnapshot
  readonly certificateWatch: CertificateWatch
  readonly revocations: Revocations
  readonly grace: NodeCertificateGrace
  /** Peers turned away because they are revoked. */
  readonly revokedPeers = { source: 0, destination: 0 }
  readonly mended = new MendedPods()
  /** What the supervisor has said last. */
  nodeHealth = UNKNOWN_HEALTH
  readonly dnsFailures = new DnsFailures()
  /** Connects that went on to another endpoint, by what the first one failed of. */
  readonly retries = new Map<ReasonCode, number>()
  /** Asks all workers. */
  readonly questions: WorkerQuestions
  readonly modelProgress = new ModelProgress()
  readonly guard = new GuardReports({
    send: (message) => this.#supervisor.send(message),
    post: (message) => this.workers.post(0, message),
  })
  readonly upgrades = new Upgrades((message) => this.#supervisor.send(message))
  readonly startedMs = systemClock.nowMs
  readonly drained: DrainedCounts
  readonly draining = new ProcessDrain(systemClock, () => this.workers.count)
  readonly #trim = new QuietTrim(systemClock)
  /** After what no thread can give back alone, while there is work. */
  readonly #busyTrim = new BusyTrim(systemClock)
  #hasSnapshot = false
  readonly #demanded: DemandedDestinations
  readonly #answers: ModelAnswers
  #wasReady = false
  #drain: Promise<void> | null = null
  /** No other process accepts from the same sockets. */
  #isAlone = false
  /** Leading and retiring take a while each: one after the other. */
  #leadership: Promise<void> = Promise.resolve()

  constructor(config: ZtunnelConfig, log: Log, channelFd: number) {
    this.config = config
    this.log = log
    this.grace = new NodeCertificateGrace({
      ...{ days: config.certificateGraceDays, place: sealedPlace(config, 'peers'), clock: systemClock, log },
    })
    const onMessage = (worker: number, message: UpMessage): void => this.#onWorkerMessage(worker, message)
    const onStarted = (worker: number): void => this.#introduce(worker)
    const isKnown = (uid: string): boolean => this.model.state?.workloadByUid(uid) !== undefined
    this.workers = new WorkerSet(config, log, { onMessage, onStarted, isKnown }, this.grace.settings)
    this.drained = new DrainedCounts({
      ...{ adminSocket: config.adminSocket, counters: this.workers.counters, startedMs: this.startedMs, log },
      nowMs: () => systemClock.nowMs,
    })
    this.model = new ModelStore(log, (state, previous) => this.#onModel(state, previous))
    this.events = new NodeEvents({
      ...{ place: sealedPlace(config, 'events'), network: config.network, model: this.model },
      ...{ pods: () => this.pods, podOf: (number) => this.#pods.nameOf(number), clock: systemClock, log },
      onTap: (isOn) => this.workers.broadcast({ type: 'tap', isOn }),
    })
    this.captures = new Captures({ workers: this.workers, clock: systemClock, log })
    this.records = new RecordWriter(config.records, () => this.workers.rings, log, {
      onRecords: (batch) => {
        this.events.onRecords(batch)
        for (const line of this.spans === null ? [] : batch.notable())
          if (isTraced(line)) this.spans?.add(line)
      },
      onAside: (line) => this.events.onOpened(line),
    })
    this.snapshot = new NodeSnapshot({
      ...{ config, clock: systemClock, log },
      compact: (...journal) => this.#background.call('compactJournal', ...journal),
      certificates: () => this.secrets.list().flatMap(({ certificate }) => certificate ?? []),
    })
    this.sources = new Sources(config, this.#background, log, {
      onConfig: (mesh) => this.model.replace(mesh),
      onRevocations: (lists) => this.revocations.receive(lists),
      edges: () => this.workers.counters.edges(true),
      journal: this.snapshot.journal,
      onAnswers: () => this.#demanded.onAnswers(),
      // What workers know without asking they ask for again: so it is known to be used.
      onAgeing: () => this.workers.broadcast({ type: 'model', version: this.model.state?.version ?? 0 }),
    })
    this.#demanded = new DemandedDestinations(this.sources.model.demand, systemClock, (ip) =>
      isAddressKnown(this.model.state, config.network, ip),
    )
    this.revocations = new Revocations({
      ...{ directory: config.stateDirectory, clock: systemClock, log },
      onChange: (memory) => {
        this.workers.broadcast({ type: 'revoked', memory })
        void this.certificateWatch.check()
      },
    })
    this.secrets = new SecretManager({
      issuer: this.sources.issuer,
      requests: this.sources.requests,
      clock: systemClock,
      random: Math.random,
      ttlSeconds: config.certificateTtlSeconds,
      saved: (identity) => this.snapshot.certificateOf(identity),
      savedGraceMs: config.certificateGraceDays * MS_PER_DAY,
    })
    this.questions = new WorkerQuestions(this.workers)
    this.certificateWatch = watchCertificates(this)
    const { workers, model, secrets, snapshot, guard } = this
    this.#pods = new ServedPods({
      ...{ workers, model, secrets, snapshot, guard, log },
      unlisted: (pod) => unlistedWorkload(pod, config),
      isAlone: () => this.#isAlone,
      send: (message) => this.#supervisor.send(message),
    })
    this.#answers = new ModelAnswers({
      ...{ network: config.network, clusterDomain: config.clusterDomain, random: Math.random },
      ...{ pods: this.#pods, demanded: this.#demanded, streamSlots: workers.streamSlots },
      state: () => model.state,
      post: (worker, message) => workers.post(worker, message),
    })
    this.#supervisor = new SupervisorLink({
      ...{ channelFd, handoverPath: handoverSocket(config.adminSocket), clock: systemClock, log },
      onMessage: (message, fds) => this.#onSupervisorMessage(message, fds),
      keptPods: () => this.#pods.kept,
      onAbandoned: () => void (this.#drain ?? endAbandoned(this)).then(() => process.exit(0)),
    })
    this.#admin = new AdminServer<App>(this, adminRoutes)
    this.#status = new AdminServer<App>(this, statusRoutes)
    this.#drainPage = new AdminServer<App>(this, drainRoutes)
  }

  async start(): Promise<void> {
    this.secrets.subscribe((certificate) => {
      this.revocations.believe(certificate)
      this.workers.broadcast(certificateMessage(certificate))
      this.snapshot.certificatesChanged()
      this.events.onCertificate(certificate)
    })
    await Promise.all([
      ...[this.revocations.start(), this.snapshot.start(), this.grace.start(), this.events.start()],
    ])
    if (this.config.otlpEndpoint !== '') {
      const { openSpans } = await import('./tracing/open-spans.ts')
      this.spans = await openSpans(this.config, this.log)
    }
    this.workers.start()
    this.records.start()
    await this.sources.start()
    this.certificateWatch.start()
  }

  get pods(): readonly PodInfo[] {
    return this.#pods.infos
  }

  /** What the supervisor has opened for a pod; undefined: it is not served. */
  socketsOf(uid: string): ReturnType<ServedPods['socketsOf']> {
    return this.#pods.socketsOf(uid)
  }

  /** Nothing new is accepted; what is open may end. */
  get isDraining(): boolean {
    return this.#drain !== null
  }

  /**
   * What readiness still waits for; empty = ready.
   * SPEC HBONE §5.1: a node is ready once its CNI agent has named all pods, and not while that one is away.
   */
  pending(): string[] {
    const isAgentMissing = this.config.zdsSocket !== '' && this.nodeHealth.agent?.isSynced !== true
    return [...this.#unserved(), ...(isAgentMissing ? ['CNI agent'] : [])]
  }

  /** Without the agent: a generation takes the place of the one before whether or not that one is there. */
  #unserved(): string[] {
    const pending: string[] = []
    if (!this.#hasSnapshot) pending.push('supervisor snapshot')
    if (this.model.state === null) {
      const { lastFailure } = this.sources.model.status()
      pending.push(
        typeof lastFailure === 'string' && lastFailure !== ''
          ? `configuration (${lastFailure})`
          : 'configuration',
      )
    }
    return [...pending, ...this.#pods.unserved.map(({ namespace, name }) => `pod ${namespace}/${name}`)]
  }

  /**
   * Lets connections finish, for so many seconds or, null, until they end; then ends everything. Called again, it only changes
   * the time.
   */
  drain(seconds: number | null = this.config.drainSeconds): Promise<void> {
    this.log.info({ seconds }, 'draining')
    this.#drain ??= this.#runDrain()
    this.draining.limit(seconds)
    return this.#drain
  }

  async #runDrain(): Promise<void> {
    this.draining.begin()
    this.#supervisor.end()
    this.#drainPage.listen(drainSocket(this.config.adminSocket)).catch((err: unknown) => {
      this.log.warn({ err }, 'what holds this process will not be seen')
    })
    this.workers.broadcast({ type: 'drain' })
    // What is left may be too busy to be idle, and never as busy again.
    setTimeout(() => this.#trimAll(), DRAIN_TRIM_DELAY_MS).unref()
    await this.draining.isOver
    await this.shutdown('DRAIN')
  }

  /** Leaves to the next process what there can be only one of on a node; connections are not concerned. */
  async #retire(): Promise<void> {
    this.drained.onRetire()
    this.#supervisor.end()
    await Promise.all([this.#admin.close(), this.#status.close(), this.events.save()])
    this.#supervisor.send({ type: 'retired' })
    this.records.drain()
    void this.spans?.flush()
  }

  /** Takes that, or takes it again: who had it before may have taken it away late. */
  async #lead(): Promise<void> {
    const { adminSocket, statusPort } = this.config
    this.#supervisor.end()
    await Promise.all([this.#admin.close(), this.#status.close()])
    this.#supervisor.listen()
    this.drained.onLead()
    void this.events.catchUp()
    const opened = [this.#admin.listen(adminSocket)]
    if (statusPort !== 0) opened.push(this.#status.listenTcp(statusPort).then(() => {}))
    for (const { status, reason } of (await Promise.allSettled(opened)) as PromiseRejectedResult[]) // as: its other kind has none
      if (status === 'rejected') this.log.error({ err: reason }, 'the admin API is not open')
  }

  /** Ends everything now. */
  async shutdown(reason: 'DRAIN' | 'SHUTDOWN'): Promise<void> {
    this.#supervisor.end()
    this.certificateWatch.close()
    this.sources.model.close()
    await this.workers.stop(reason)
    await Promise.all([this.drained.keep(), this.sources.close()])
    await Promise.all([this.#admin.close(), this.#status.close()])
    await this.records.close()
    await this.spans?.close()
    await Promise.all([
      ...[this.revocations.close(), this.snapshot.close(), this.grace.close(), this.events.close()],
    ])
    this.secrets.close()
    await this.#background.close()
    await this.#drainPage.close() // from here on nothing is written any more
  }

  #onSupervisorMessage(message: SupervisorMessage, fds: readonly number[]): void {
    this.events.onSupervisor(message)
    if (message.type === 'pod-added') this.#pods.add(message, fds)
    else if (message.type === 'pod-removed') this.#pods.remove(message.uid)
    else if (message.type === 'pod-leaving') this.#pods.letGo(message.uid)
    else if (message.type === 'pod-returned') this.#pods.takeBack(message.uid)
    else if (message.type === 'pod-mended') this.mended.onMended(message.uid, systemClock.nowMs)
    else if (message.type === 'node-health') this.nodeHealth = message.health
    else if (message.type === 'guard-refused' || message.type === 'guard-counted')
      this.guard.onMessage(message)
    else if (message.type === 'drain') void this.drain(message.seconds).then(() => process.exit(0))
    else if (message.type === 'retire') this.#leadership = this.#leadership.then(() => this.#retire())
    else if (message.type === 'lead') {
      this.#isAlone = !message.isBeside
      this.#leadership = this.#leadership.then(() => this.#lead())
    } else if (message.type === 'upgrade-answer' || message.type === 'generations')
      this.upgrades.onMessage(message)
    else {
      this.#hasSnapshot = true
      this.#reportReady()
    }
  }

  /** Workers are told what concerns them and has changed: a mesh changes all the time, a node's part of it does not. */
  #onModel(state: MeshState, previous: MeshState | null): void {
    if (previous === null || !state.hasAddressesOf(previous))
      this.workers.broadcast({ type: 'model', version: state.version })
    this.#pods.onModel()
    this.workers.broadcast({ type: 'confirm-model', version: state.version })
    const { nowMs } = systemClock
    const receivedMs = this.sources.model.receivedMs ?? nowMs
    this.#trim.onWork()
    this.modelProgress.onSent(state.version, receivedMs, nowMs, this.workers.count)
    this.#reportReady()
  }

  #introduce(worker: number): void {
    if (this.isDraining) {
      this.workers.post(worker, { type: 'drain' }) // it replaces one that died: it is to accept nothing
      this.#pods.introduceIdle(worker)
      return
    }
    this.workers.post(worker, { type: 'revoked', memory: this.revocations.memory })
    this.workers.post(worker, { type: 'tap', isOn: this.events.tap.isOn })
    for (const { certificate } of this.secrets.list()) {
      if (certificate !== null) this.workers.post(worker, certificateMessage(certificate))
    }
    this.#pods.introduce(worker)
    this.captures.introduce(worker)
    const { state } = this.model
    if (state !== null) this.workers.post(worker, { type: 'confirm-model', version: state.version })
  }

  #onWorkerMessage(worker: number, message: UpMessage): void {
    switch (message.type) {
      case 'resolve':
      case 'resolve-host':
      case 'resolve-dns':
      case 'resolve-caller':
        this.#answers.onQuestion(worker, message)
        break
      case 'pod-ready':
        this.#pods.onServed(message.uid, worker)
        this.#supervisor.send({ type: 'pod-ready', uid: message.uid })
        this.#reportReady()
        break
      case 'pod-left':
        this.#pods.onLeft(message.uid, worker)
        break
      case 'pod-failed':
        this.events.onFailed(message.uid, message.detail)
        this.#supervisor.send({ type: 'pod-failed', uid: message.uid, detail: message.detail })
        break
      case 'report':
        this.questions.onAnswer(worker, message.request, message.answer)
        break
      case 'peer-revoked':
        this.revokedPeers[message.reporter]++
        break
      case 'connect-retried':
        this.retries.set(message.reason, (this.retries.get(message.reason) ?? 0) + 1)
        break
      case 'dns-failed':
        this.dnsFailures.onFailed(message.uid, { ...message, timeMs: systemClock.nowMs })
        this.workers.broadcast({ type: 'dns-failing', uid: message.uid })
        break
      case 'dns-recovered':
        this.dnsFailures.onRecovered(message.uid)
        break
      case 'peer-in-grace':
        this.grace.onConnection(message.identity)
        break
      case 'model-in-force':
        this.modelProgress.onWorker(worker, message.version, systemClock.nowMs)
        break
      case 'log':
        this.log[message.level]({ worker, ...message.fields }, message.message)
        break
      case 'pages-unused':
        releaseFilePages()
        break
      case 'busy':
        this.#busyTrim.onBusy()
        break
      case 'drained':
        this.draining.onEmpty(worker)
        break
      case 'sockets-left':
        this.#pods.onSocketsLeft(message.uid, worker)
        break
      case 'labels':
      case 'endpoint-demoted':
      case 'endpoint-forgiven':
        break // WorkerSet takes these
    }
  }

  #reportReady(): void {
    if (this.#wasReady || this.#unserved().length > 0) return
    this.#wasReady = true
    this.log.info({ pods: this.pods.length }, 'ready')
    this.#supervisor.send({ type: 'ready' })
    setTimeout(() => this.#trimAll(), TRIM_DELAY_MS)
  }

  #trimAll(): void {
    this.workers.broadcast({ type: 'trim-memory' })
    trimMemory()
    releaseFilePages()
  }
}
