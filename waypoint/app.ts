// SPDX-License-Identifier: Apache-2.0
// The data process of a waypoint put together: supervisor's channel → listening socket → workers; model, certificate, records
// and admin around them. Ordinary async Node; the traffic itself is in the workers.
import { closeSync } from 'node:fs'
import { AdminServer } from '../mesh/admin/admin-server.ts'
import type { DiscoveryClient } from '../mesh/discovery/discovery-client.ts'
import { handoverSocket } from '../mesh/generations/handover.ts'
import type { ListenerKind, PodInfo, SupervisorMessage } from '../mesh/generations/pods.ts'
import { SupervisorLink } from '../mesh/generations/supervisor-link.ts'
import { Upgrades } from '../mesh/generations/upgrades.ts'
import type { WorkloadCertificate } from '../mesh/identity/certificate.ts'
import type { Revocations } from '../mesh/identity/revocations.ts'
import type { SecretManager } from '../mesh/identity/secret-manager.ts'
import { formatSpiffeId } from '../mesh/identity/spiffe.ts'
import type { MeshState } from '../mesh/model/mesh-state.ts'
import { ModelStore } from '../mesh/model/model-store.ts'
import { BusyTrim } from '../mesh/reactor/busy-trim.ts'
import { QuietTrim } from '../mesh/reactor/quiet-trim.ts'
import { releaseFilePages, trimMemory } from '../mesh/reactor/trim-memory.ts'
import { systemClock } from '../mesh/runtime/clock.ts'
import type { Log } from '../mesh/runtime/log.ts'
import { TransientWorker } from '../mesh/runtime/transient-worker.ts'
import type { NodeSnapshot } from '../mesh/snapshot/node-snapshot.ts'
import { RecordWriter } from '../mesh/telemetry/record-writer.ts'
import type { SpanExporter } from '../mesh/tracing/span-exporter.ts'
import { adminRoutes, statusRoutes } from './admin-routes.ts'
import type { BackgroundMethods } from './background-worker.ts'
import { environment, type WaypointConfig } from './config.ts'
import { NewInstances } from './model/sibling-instances.ts'
import { mayListen, type Progress, pendingParts } from './readiness.ts'
import { SPAN_LINE, TAP_LINE } from './records/lines.ts'
import { RequestTaps } from './request-taps.ts'
import { type Layer7, Layer7Reader, NOTHING_TOLD } from './resources.ts'
import { Sources } from './sources.ts'
import { fetchKeys } from './tokens/fetch-keys.ts'
import { KeySets } from './tokens/key-sets.ts'
import { TokenVerifier } from './tokens/token-verifier.ts'
import { ViewKeeper } from './view-keeper.ts'
import type { DownMessage } from './worker-messages.ts'
import { type WorkerNews, WorkerSet } from './worker-set.ts'

const BACKGROUND = new URL('./background-worker.ts', import.meta.url)

/** Start-up garbage is collected this long after the process became ready. */
const TRIM_DELAY_MS = 500

/** What the supervisor gave to be served. */
interface Served {
  readonly info: PodInfo
  readonly listeners: ReadonlyMap<ListenerKind, number>
  readonly listening: Set<number>
}

/** The data process. */
export class App {
  readonly config: WaypointConfig
  readonly log: Log
  /** SPIFFE id of the waypoint. */
  readonly identity: string
  readonly workers: WorkerSet
  readonly records: RecordWriter
  readonly model: ModelStore
  readonly secrets: SecretManager
  readonly revocations: Revocations
  readonly snapshot: NodeSnapshot
  readonly views = new ViewKeeper(systemClock, (worker, message) => this.workers.post(worker, message))
  readonly upgrades = new Upgrades((message) => this.#supervisor.send(message))
  readonly taps = new RequestTaps(systemClock, (filters) => this.workers.broadcast({ type: 'tap', filters }))
  readonly startedMs = systemClock.nowMs
  /** null: nobody traces. */
  spans: SpanExporter | null = null
  readonly #background = new TransientWorker<BackgroundMethods>(BACKGROUND, trimMemory)
  readonly #sources: Sources
  readonly #layer7: Layer7Reader
  readonly #supervisor: SupervisorLink
  readonly #admin: AdminServer<App>
  readonly #status: AdminServer<App>
  readonly #newInstances = new NewInstances()
  #served: Served | null = null
  #isListening = false
  #told: Layer7 = NOTHING_TOLD
  readonly #tokens = new TokenVerifier(new KeySets(fetchKeys, systemClock), systemClock)
  /** Looks after main's own memory; workers look after theirs. */
  readonly #trim = new QuietTrim(systemClock)
  /** After what no thread can give back alone, while there is work. */
  readonly #busyTrim = new BusyTrim(systemClock)
  #wasReady = false
  #drain: Promise<void> | null = null
  #drainTimer: NodeJS.Timeout | undefined
  readonly #drained = new Set<number>()
  #onDrained: (() => void) | null = null

  constructor(config: WaypointConfig, log: Log, channelFd: number) {
    this.config = config
    this.log = log
    const { trustDomain, podNamespace: namespace, serviceAccount } = config
    this.identity = formatSpiffeId({ trustDomain, namespace, serviceAccount })
    this.records = new RecordWriter(config.records, () => this.workers.rings, log, {
      onRecords: () => {},
      onAside: (line) => this.#onAside(line),
    })
    this.model = new ModelStore(log, (state) => this.#onModel(state))
    this.workers = new WorkerSet(config, this.identity, log, {
      onNews: (worker, news) => this.#onNews(worker, news),
      onStarted: (worker) => this.#introduce(worker),
      onGone: (worker) => {
        this.views.forget(worker)
        this.#served?.listening.delete(worker)
      },
    })
    this.#layer7 = new Layer7Reader(log)
    this.#sources = new Sources(config, this.#background, log, {
      onConfig: (mesh, raw) => {
        this.#told = this.#layer7.read(raw)
        this.model.replace(mesh)
      },
      onRevoked: (memory) => this.workers.broadcast({ type: 'revoked', memory }),
    })
    const { secrets, revocations, snapshot } = this.#sources
    this.secrets = secrets
    this.revocations = revocations
    this.snapshot = snapshot
    this.#supervisor = new SupervisorLink({
      ...{ channelFd, handoverPath: handoverSocket(config.adminSocket), clock: systemClock, log },
      onMessage: (message, fds) => this.#onSupervisorMessage(message, fds),
      keptPods: () => this.#keptPods(),
      onAbandoned: () => void (this.#drain ?? this.shutdown('SHUTDOWN')).then(() => process.exit(0)),
    })
    this.#admin = new AdminServer<App>(this, adminRoutes)
    this.#status = new AdminServer<App>(this, statusRoutes)
  }

  async start(): Promise<void> {
    this.secrets.subscribe((certificate) => {
      this.revocations.believe(certificate)
      this.workers.broadcast(certificateMessage(certificate))
      this.snapshot.certificatesChanged()
      this.#listen()
      this.#reportReady()
    })
    await this.#sources.restore()
    if (this.config.otlpEndpoint !== '') {
      const { openSpans } = await import('./tracing/open-spans.ts')
      this.spans = await openSpans(this.config, this.log)
    }
    this.workers.start()
    this.records.start()
    await this.#sources.start()
    this.secrets.get(this.identity, 'real-time').catch((err: unknown) => {
      this.log.warn({ err }, 'no certificate yet') // it is asked for again
    })
  }

  /** What readiness still waits for; empty = ready. */
  pending(): string[] {
    return pendingParts(this.#progress())
  }

  get isDraining(): boolean {
    return this.#drain !== null
  }

  discoveryStatus(): ReturnType<DiscoveryClient['status']> {
    return this.#sources.discovery.status()
  }

  /** Lets requests finish, for so many seconds or, null, until they end. Called again, it only changes the time. */
  drain(seconds: number | null): Promise<void> {
    this.log.info({ seconds }, 'draining')
    this.#drain ??= this.#runDrain()
    clearTimeout(this.#drainTimer)
    if (seconds !== null) this.#drainTimer = setTimeout(() => this.#onDrained?.(), seconds * 1000)
    return this.#drain
  }

  async shutdown(reason: 'DRAIN' | 'SHUTDOWN'): Promise<void> {
    this.#supervisor.end()
    this.#sources.discovery.stop()
    await this.workers.stop(reason)
    await Promise.all([this.#admin.close(), this.#status.close()])
    await this.records.close()
    await this.spans?.close()
    await this.#sources.close()
    await this.#background.close()
  }

  async #runDrain(): Promise<void> {
    this.#supervisor.end()
    this.workers.broadcast({ type: 'drain' })
    await new Promise<void>((resolve) => {
      this.#onDrained = resolve
    })
    clearTimeout(this.#drainTimer)
    await this.shutdown('DRAIN')
  }

  #progress(): Progress {
    const { state } = this.model
    return {
      listening: this.#served?.listening.size ?? null,
      workers: this.workers.count,
      hasConfiguration: state !== null,
      hasOwnWorkload: state !== null && this.#own(state) !== undefined,
      hasCertificate: this.secrets.current(this.identity) !== undefined,
    }
  }

  #own(state: MeshState): ReturnType<MeshState['ownWorkload']> {
    const { podName, podNamespace, serviceAccount } = this.config
    return state.ownWorkload(podNamespace, podName, serviceAccount)
  }

  #onModel(state: MeshState): void {
    const own = this.#own(state)
    const part = own === undefined ? 0 : this.#newInstances.partFor(state, own)
    if (part > 0) this.workers.broadcast({ type: 'shed', part })
    if (own !== undefined)
      this.views.update({ state, own, network: this.config.network, ...this.#told, environment })
    this.#trim.onWork()
    this.#listen()
    this.#reportReady()
  }

  #introduce(worker: number): void {
    this.workers.post(worker, { type: 'revoked', memory: this.revocations.memory })
    const certificate = this.secrets.current(this.identity)
    if (certificate !== undefined) this.workers.post(worker, certificateMessage(certificate))
    this.workers.post(worker, { type: 'tap', filters: this.taps.filters })
    if (this.isDraining) this.workers.post(worker, { type: 'drain' })
    else if (this.#isListening) this.workers.post(worker, this.#listenMessage())
  }

  #listen(): void {
    if (this.#isListening || !mayListen(this.#progress())) return
    this.#isListening = true
    this.workers.broadcast(this.#listenMessage())
  }

  #listenMessage(): DownMessage {
    return { type: 'listen', fd: this.#served?.listeners.get('inbound') ?? -1 }
  }

  /** Whoever comes now is refused at once, unless others accept from the same socket. */
  #closeListeners(): void {
    for (const fd of this.#served?.listeners.values() ?? []) closeSync(fd)
    this.#served = null
  }

  #onNews(worker: number, message: WorkerNews): void {
    switch (message.type) {
      case 'listening':
        this.#served?.listening.add(worker)
        this.#reportReady()
        break
      case 'not-listening':
        this.#served?.listening.delete(worker)
        if (this.#served?.listening.size === 0) this.#closeListeners()
        break
      case 'resolve-target':
        this.views.onResolveTarget(worker, message.authority)
        break
      case 'resolve-cluster':
        this.views.onResolveCluster(worker, message.name)
        break
      case 'resolve-caller':
        this.views.onResolveCaller(worker, message.key, message.identity, message.ip)
        break
      case 'verify-token':
        void this.#tokens.verify(message.token, message.rules).then((verdict) => {
          this.workers.post(worker, { type: 'token', key: message.key, verdict })
        })
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
        this.#drained.add(worker)
        if (this.#drained.size >= this.workers.count) this.#onDrained?.()
        break
    }
  }

  #onAside(line: string): void {
    const text = line.slice(1)
    if (line.startsWith(SPAN_LINE)) this.spans?.add(text)
    else if (line.startsWith(TAP_LINE)) this.taps.onRecord(text)
    else this.taps.onLost(Number(text))
  }

  #onSupervisorMessage(message: SupervisorMessage, fds: readonly number[]): void {
    if (message.type === 'pod-added') {
      const listeners = new Map(message.listeners.map((kind, index) => [kind, fds[index] ?? -1] as const))
      this.#served = { info: message.pod, listeners, listening: new Set() }
      this.#listen()
    } else if (message.type === 'drain') void this.drain(message.seconds).then(() => process.exit(0))
    else if (message.type === 'retire') void this.#retire()
    else if (message.type === 'lead') void this.#lead()
    else if (message.type === 'upgrade-answer' || message.type === 'generations')
      this.upgrades.onMessage(message)
    else this.#reportReady()
  }

  #keptPods(): ReturnType<ConstructorParameters<typeof SupervisorLink>[0]['keptPods']> {
    if (this.#served === null) return []
    const { info, listeners } = this.#served
    return [{ info, namespaceFd: null, listeners, isServed: this.#wasReady, closedPorts: null }]
  }

  /** Leaves to the next process what there can be only one of. */
  async #retire(): Promise<void> {
    this.#supervisor.end()
    await Promise.all([this.#admin.close(), this.#status.close()])
    this.#supervisor.send({ type: 'retired' })
    this.records.drain()
    void this.spans?.flush()
  }

  async #lead(): Promise<void> {
    const { adminSocket, statusPort } = this.config
    this.#supervisor.end()
    await Promise.all([this.#admin.close(), this.#status.close()])
    this.#supervisor.listen()
    const opened = [this.#admin.listen(adminSocket)]
    if (statusPort !== 0) opened.push(this.#status.listenTcp(statusPort).then(() => {}))
    for (const result of await Promise.allSettled(opened))
      if (result.status === 'rejected') this.log.error({ err: result.reason }, 'the admin API is not open')
  }

  #reportReady(): void {
    if (this.#wasReady || this.pending().length > 0 || this.#served === null) return
    this.#wasReady = true
    this.log.info({ identity: this.identity }, 'ready')
    this.#supervisor.send({ type: 'pod-ready', uid: this.#served.info.uid })
    this.#supervisor.send({ type: 'ready' })
    setTimeout(() => this.#trimAll(), TRIM_DELAY_MS)
  }

  #trimAll(): void {
    this.workers.broadcast({ type: 'trim-memory' })
    trimMemory()
    releaseFilePages()
  }
}

function certificateMessage(certificate: WorkloadCertificate): DownMessage {
  const { identity, chainPem, privateKeyPem, rootsPem, trustBundleId } = certificate
  return { type: 'certificate', identity, chainPem, privateKeyPem, rootsPem, trustBundleId }
}
