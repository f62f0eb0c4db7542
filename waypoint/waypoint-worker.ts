// SPDX-License-Identifier: Apache-2.0
// A reactor worker of the waypoint: accepts tunnels, and has what main tells of targets and clusters. Never returns to libuv
// while it runs.
import { MeshError } from '../mesh/errors/mesh-error.ts'
import { SessionResources } from '../mesh/h2/session-resources.ts'
import { RevokedPeers } from '../mesh/identity/revoked-peers.ts'
import { WorkerIdentities } from '../mesh/identity/worker-identities.ts'
import { AcceptShare } from '../mesh/reactor/accept-share.ts'
import { HEADROOM_BYTES } from '../mesh/reactor/byte-stream.ts'
import { allocateBlock, freeBlock } from '../mesh/reactor/ffi/native.ts'
import { IdleTrim } from '../mesh/reactor/idle-trim.ts'
import { TcpListener } from '../mesh/reactor/tcp-listener.ts'
import { trimMemory } from '../mesh/reactor/trim-memory.ts'
import { ReactorThread } from '../mesh/reactor/worker.ts'
import { TrafficCounters } from '../mesh/telemetry/counters.ts'
import { RecordRing } from '../mesh/telemetry/record-ring.ts'
import { RequestCounters } from '../mesh/telemetry/request-counters.ts'
import { Shedding } from './accept/shedding.ts'
import { Tunnel } from './accept/tunnel.ts'
import { RequestSeries } from './carry/request-series.ts'
import { WaypointContext } from './carry/waypoint-context.ts'
import { openFormat } from './records/access-format.ts'
import { RequestLog } from './records/request-log.ts'
import { Tracer } from './tracing/request-trace.ts'
import type { DownMessage, UpMessage, WorkerData, WorkerReport } from './worker-messages.ts'

/** How often a draining worker looks whether it is empty. */
const DRAIN_CHECK_MS = 50
/** Accepting goes on so long after nobody is sent here any more. */
const DRAIN_ACCEPT_MS = 200
const SCRATCH_BYTES = 65_536
/** What accept hand-overs say: there is one listener. */
const LISTENER = 0

/** One worker. Made in its own thread. */
export class WaypointWorker {
  readonly #thread = new ReactorThread<DownMessage, UpMessage>()
  readonly #context: WaypointContext
  readonly #tunnels = new Set<Tunnel>()
  readonly #shedding: Shedding
  #listener: TcpListener | null = null
  #isDraining = false

  constructor() {
    const data = this.#thread.data as WorkerData // as: the app starts this thread
    const { reactor } = this.#thread
    const { identity, trustDomain, baggage } = data
    this.#shedding = new Shedding(reactor, Math.random)
    const memory = { scheduler: reactor, held: reactor.held, allocateBlock, releaseBlock: freeBlock }
    this.#context = new WaypointContext({
      ...{ reactor, identity, trustDomain, baggage, bodyTimeoutMs: data.bodyTimeoutMs },
      resources: new SessionResources(memory),
      inner: new SessionResources(memory),
      share: new AcceptShare(data.acceptShare, data.index, data.wakeFds),
      identities: new WorkerIdentities(),
      revoked: new RevokedPeers(reactor, () => {}),
      log: new RequestLog(
        new RecordRing(data.records),
        openFormat(data.accessLog, data.accessLogFormat),
        reactor.nowMs,
      ),
      tracer: data.tracesPerMillion === null ? null : new Tracer(data.tracesPerMillion),
      series: new RequestSeries(
        new RequestCounters(data.requestCounters, (slot, labels) => {
          this.#thread.post({ type: 'request-labels', slot, labels })
        }),
        new TrafficCounters(data.counters, (slot, labels) => {
          this.#thread.post({ type: 'labels', slot, labels })
        }),
      ),
      scratch: allocateBlock(HEADROOM_BYTES + SCRATCH_BYTES),
      post: (message) => void this.#thread.post(message),
    })
  }

  run(): void {
    const { reactor } = this.#thread
    const { resources, inner, post } = this.#context
    for (const each of [resources, inner]) {
      reactor.atTrim(() => each.trim())
      reactor.atEbb(() => each.ebb())
    }
    new IdleTrim(reactor, {
      onPagesUnused: () => post({ type: 'pages-unused' }),
      onBusy: () => post({ type: 'busy' }),
    }).start()
    this.#thread.run(
      (message) => this.#onMessage(message),
      () => this.#context.share.adoptAll((fd) => this.#serve(fd)),
    )
    this.#context.identities.close()
    reactor.destroy()
  }

  #onMessage(message: DownMessage): void {
    switch (message.type) {
      case 'listen':
        this.#listen(message.fd)
        break
      case 'certificate':
        this.#onCertificate(message)
        break
      case 'revoked':
        this.#context.revoked.replace(message.memory)
        break
      case 'target':
        this.#context.learnTarget(message.view)
        break
      case 'cluster':
        this.#context.learnCluster(message.facts)
        break
      case 'caller':
        this.#context.callers.learn(message.key, { labels: message.labels }, false)
        break
      case 'token':
        this.#context.tokens.learn(message.key, message.verdict)
        break
      case 'tap':
        this.#context.log.tap(message.filters)
        break
      case 'report':
        this.#context.post({ type: 'report', request: message.request, report: this.#report() })
        break
      case 'shed':
        this.#shedding.start(message.part, () => [...this.#tunnels].flatMap(({ movable }) => movable))
        break
      case 'trim-memory':
        this.#trim()
        break
      case 'drain':
        this.#drain()
        break
      case 'stop':
        this.#stop(message.reason)
        break
    }
  }

  #trim(): void {
    const startedMs = performance.now()
    trimMemory()
    this.#thread.reactor.onTrimmed(performance.now() - startedMs)
  }

  #listen(fd: number): void {
    const { reactor, share, post } = this.#context
    this.#listener = new TcpListener(
      reactor,
      fd,
      {
        onAccept: (connection) => {
          if (share.keep('tunnel', connection, LISTENER)) this.#serve(connection)
        },
        onAcceptRefused: ({ code, detail }) =>
          post({
            type: 'log',
            level: 'warn',
            message: 'connections turned away',
            fields: { reason: code, detail },
          }),
      },
      true,
    )
    post({ type: 'listening' })
  }

  #serve(fd: number): void {
    const tunnel: Tunnel = new Tunnel(this.#context, fd, (ended) => this.#tunnels.delete(ended))
    if (tunnel.isOver) return
    this.#tunnels.add(tunnel)
    if (this.#isDraining) tunnel.drain()
  }

  #onCertificate(message: Extract<DownMessage, { type: 'certificate' }>): void {
    const { identity, chainPem, privateKeyPem, rootsPem, trustBundleId } = message
    try {
      this.#context.identities.replace(identity, chainPem, privateKeyPem, rootsPem, trustBundleId)
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      const fields = { identity, reason: error.code, detail: error.detail }
      const text = 'certificate refused, the old one stays'
      this.#context.post({ type: 'log', level: 'error', message: text, fields })
    }
  }

  #report(): WorkerReport {
    const { exchangeCount: exchanges, retryTotal, mirrorTotal } = this.#context
    const clusters = [...this.#context.clusters.values()].map(({ cluster }) => cluster.status())
    return { clusters, tunnels: this.#tunnels.size, exchanges, retryTotal, mirrorTotal }
  }

  #drain(): void {
    if (this.#isDraining) return
    this.#isDraining = true
    this.#shedding.stop()
    // Who is in the queue of the listening socket was sent here: nobody else would take him.
    this.#context.reactor.startTimer(DRAIN_ACCEPT_MS, () => {
      this.#listener?.finish()
      this.#listener = null
      this.#context.post({ type: 'not-listening' })
      for (const tunnel of this.#tunnels) tunnel.drain()
      this.#whenIdle()
    })
  }

  #whenIdle(): void {
    if (this.#tunnels.size === 0) this.#context.post({ type: 'drained' })
    else this.#context.reactor.startTimer(DRAIN_CHECK_MS, () => this.#whenIdle())
  }

  #stop(reason: 'DRAIN' | 'SHUTDOWN'): void {
    this.#listener?.close()
    for (const tunnel of [...this.#tunnels]) tunnel.destroy({ code: reason, detail: '' })
    this.#context.close()
    // Ends of connections are told at the end of the turn, and have their records then.
    this.#context.reactor.inNextTurn(() => this.#context.reactor.stop())
  }
}
