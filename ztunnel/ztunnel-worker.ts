// SPDX-License-Identifier: Apache-2.0
// A reactor worker of the data process: takes pods, certificates and destinations from main, accepts on the pods' listeners and
// hands each connection to the room that carries it. Never returns to libuv while it runs.
import { MeshError } from '../mesh/errors/mesh-error.ts'
import { type Refusal, refuse } from '../mesh/errors/refusal.ts'
import {
  isDatagramKind,
  LISTENER_KINDS,
  type ListenerKind,
  type StreamKind,
} from '../mesh/generations/pods.ts'
import { SessionResources } from '../mesh/h2/session-resources.ts'
import { RevokedPeers } from '../mesh/identity/revoked-peers.ts'
import { WorkerIdentities } from '../mesh/identity/worker-identities.ts'
import { AcceptShare } from '../mesh/reactor/accept-share.ts'
import { allocateBlock, freeBlock } from '../mesh/reactor/ffi/native.ts'
import { IdleTrim } from '../mesh/reactor/idle-trim.ts'
import { type AcceptHandler, TcpListener } from '../mesh/reactor/tcp-listener.ts'
import { trimMemory } from '../mesh/reactor/trim-memory.ts'
import { ReactorThread } from '../mesh/reactor/worker.ts'
import { CaptureRing } from '../mesh/telemetry/capture-ring.ts'
import { TrafficCounters } from '../mesh/telemetry/counters.ts'
import { Latencies } from '../mesh/telemetry/latencies.ts'
import { RecordRing } from '../mesh/telemetry/record-ring.ts'
import { ACCEPT, ACCEPT_KIND } from './accept/acceptors.ts'
import { recordGuardRefusal } from './accept/passthrough-listener.ts'
import { Callers } from './carry/callers.ts'
import { GracePeers } from './carry/grace-peers.ts'
import { reportHolders } from './carry/holders.ts'
import { NodePressure } from './carry/node-pressure.ts'
import { PayloadCapture } from './carry/payload-capture.ts'
import { pressureSource } from './carry/pressure-source.ts'
import { SameNodePods } from './carry/same-node-pods.ts'
import { ServedPod } from './carry/served-pod.ts'
import { StreamCounts } from './carry/stream-counts.ts'
import { TraceSampler } from './carry/trace-sampler.ts'
import { countTunnelCertificates } from './carry/tunnel-certificates.ts'
import { WorkerContext } from './carry/worker-context.ts'
import { WorkerPolicies } from './carry/worker-policies.ts'
import { DnsResources } from './dns/dns-resources.ts'
import { DnsServer } from './dns/dns-server.ts'
import type {
  ConnectionReport,
  DownMessage,
  PodMessage,
  ReportKind,
  TurnReport,
  UpMessage,
  WorkerData,
  WorkerReports,
} from './worker-messages.ts'

/** Connections are accepted so long after nobody is redirected any more. */
const DRAIN_ACCEPT_MS = 200
/** A connection waits so long for its pod: workers hear of one within milliseconds of each other. */
const EARLY_WAIT_MS = 1000
/** How often a draining worker looks whether it is empty. */
const DRAIN_CHECK_MS = 50
/** Of a pod that has not asked. */
const NO_DNS = { drain: (onLeft: () => void): void => onLeft() }
/** Warnings of one kind are sent at most this often. */
const WARN_INTERVAL_MS = 1000

/** Messages about the mesh around the pods. */
type Learnt =
  | 'stream-slots'
  | 'destination'
  | 'destination-unknown'
  | 'host'
  | 'dns'
  | 'dns-failing'
  | 'caller'
  | 'endpoint-demoted'
  | 'endpoint-forgiven'

/** A connection of a pod that this worker has not heard of. */
interface EarlyConnection {
  readonly fd: number
  readonly number: number
  readonly kind: StreamKind
}

/** One worker of the data process. Made in its own thread. */
export class ZtunnelWorker {
  readonly #thread = new ReactorThread<DownMessage, UpMessage>()
  readonly #context: WorkerContext
  readonly #index: number
  readonly #policies = new WorkerPolicies()
  readonly #pods = new Map<string, ServedPod>()
  readonly #byNumber = new Map<number, ServedPod>()
  readonly #listeners = new Map<string, TcpListener[]>()
  /** Main's, of all pods. */
  readonly #listenerFds = new Map<string, ReadonlyMap<ListenerKind, number>>()
  readonly #dnsResources: DnsResources
  /** Of the pods whose questions come here. */
  readonly #dns = new Map<string, DnsServer>()
  /** Numbers of pods whose connections are let end. */
  readonly #leaving = new Set<number>()
  readonly #early = new Set<EarlyConnection>()
  #isDraining = false
  #lastWarnedMs = Number.NEGATIVE_INFINITY

  constructor() {
    const data = this.#thread.data as WorkerData // as: WorkerSet starts this thread
    const { reactor } = this.#thread
    const post = (message: UpMessage): void => void this.#thread.post(message)
    this.#index = data.index
    this.#dnsResources = new DnsResources(reactor)
    const resources = new SessionResources({
      ...{ scheduler: reactor, held: reactor.held, allocateBlock, releaseBlock: freeBlock },
      inboundLimitBytes: data.bufferedBytes,
    })
    this.#context = new WorkerContext({
      ...{ index: data.index, reactor, resources, limits: data.limits },
      pressure: new NodePressure(
        pressureSource({
          ...{ reactor, resources, pods: () => this.#pods.values() },
          onShed: (kind, count) => {
            const fields = { reason: 'LIMIT_NODE', kind, count }
            post({
              type: 'log',
              level: 'warn',
              message: 'connections give way, the node has little left',
              fields,
            })
          },
        }),
      ),
      share: new AcceptShare(data.acceptShare, data.index, data.wakeFds),
      identities: new WorkerIdentities(),
      callers: new Callers((ip) => post({ type: 'resolve-caller', ip })),
      revoked: new RevokedPeers(reactor, (reporter) => post({ type: 'peer-revoked', reporter })),
      sameNode: new SameNodePods(),
      streams: new StreamCounts(data.streamCounts, data.index, data.wakeFds.length),
      grace:
        data.grace === null
          ? null
          : new GracePeers(data.grace, (identity) => post({ type: 'peer-in-grace', identity })),
      originalSource: data.originalSource,
      isSocks5Enabled: data.socks5,
      post,
      counters: new TrafficCounters(data.counters, (slot, labels) => post({ type: 'labels', slot, labels })),
      latencies: new Latencies(data.latencies),
      traces: data.tracesPerMillion === null ? null : new TraceSampler(data.tracesPerMillion),
      records: new RecordRing(data.records),
    })
  }

  run(): void {
    const { reactor } = this.#thread
    const { resources, post } = this.#context
    reactor.atTrim(() => resources.trim())
    reactor.atEbb(() => resources.ebb())
    new IdleTrim(reactor, {
      onPagesUnused: () => post({ type: 'pages-unused' }),
      onBusy: () => post({ type: 'busy' }),
    }).start()
    this.#thread.run(
      (message) => this.#onMessage(message),
      () => this.#context.share.adoptAll((fd, listener) => this.#adopt(fd, listener)),
    )
    // stop(): every connection has been ended, the last records are in the ring.
    this.#context.identities.close()
    this.#thread.reactor.destroy()
  }

  #onMessage(message: DownMessage): void {
    switch (message.type) {
      case 'pod':
        this.#onPod(message)
        break
      case 'policies':
        this.#policies.add(message.policies)
        break
      case 'policies-removed':
        this.#policies.remove(message.numbers)
        break
      case 'pod-removed':
        this.#removePod(message.uid, refuse('ENDPOINT_GONE', 'the pod was un-enrolled'))
        break
      case 'pod-leaving': {
        const { uid } = message
        this.#drainPods([uid], () => this.#context.post({ type: 'pod-left', uid }))
        break
      }
      case 'pod-returned':
        this.#takeBack(message.uid)
        break
      case 'guard-refused': {
        const pod = this.#pods.get(message.uid)
        if (pod !== undefined) recordGuardRefusal(pod, message.source, message.destination)
        break
      }
      case 'certificate':
        this.#onCertificate(message)
        break
      case 'revoked':
        this.#context.revoked.replace(message.memory)
        this.#context.sameNode.onRevoked()
        break
      case 'certificate-forgotten':
        this.#context.identities.forget(message.identity)
        break
      case 'stream-slots':
      case 'destination':
      case 'destination-unknown':
      case 'host':
      case 'dns':
      case 'dns-failing':
      case 'caller':
      case 'endpoint-demoted':
      case 'endpoint-forgiven':
        this.#learn(message)
        break
      case 'model':
        this.#context.callers.invalidate()
        for (const pod of this.#pods.values()) pod.destinations.invalidate()
        for (const { names } of this.#dns.values()) names.invalidate()
        break
      case 'confirm-model':
        this.#context.post({ type: 'model-in-force', version: message.version })
        break
      case 'report':
        this.#report(message.what, (answer) =>
          this.#context.post({ type: 'report', request: message.request, answer }),
        )
        break
      case 'tap':
        this.#context.isTapped = message.isOn
        break
      case 'capture':
        this.#onCapture(message.uid, message.memory)
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

  /** What main answers, or tells before it does. */
  #learn(message: Extract<DownMessage, { type: Learnt }>): void {
    switch (message.type) {
      case 'stream-slots':
        this.#context.streams.learn(message.slots)
        break
      case 'destination':
        this.#pods.get(message.uid)?.destinations.learn(message.view)
        break
      case 'destination-unknown':
        this.#pods.get(message.uid)?.destinations.refuse(message.ip, message.port, message.refusal)
        break
      case 'host':
        this.#pods.get(message.uid)?.hosts.learn(message.host, message.ip)
        break
      case 'dns':
        this.#dns.get(message.uid)?.names.learn(message.name, message.queryType, message.verdict)
        break
      case 'dns-failing':
        this.#dnsResources.onFailing(this.#pods.get(message.uid))
        break
      case 'caller':
        this.#context.callers.learn(message.ip, message.workload)
        break
      case 'endpoint-demoted':
      case 'endpoint-forgiven':
        this.#context.demotions.onTold(message, this.#context.reactor.nowMs)
        break
    }
  }

  #onCapture(uid: string, memory: SharedArrayBuffer | null): void {
    const nowMs = (): number => performance.timeOrigin + this.#context.reactor.nowMs
    const payload = memory === null ? null : new PayloadCapture(new CaptureRing(memory), nowMs)
    this.#pods.get(uid)?.startCapture(payload)
  }

  #onPod(message: PodMessage): void {
    const { pod: info, number, namespaceFd, listeners, account, inbound } = message
    let pod = this.#pods.get(info.uid)
    if (pod !== undefined && pod.number !== number) {
      this.#removePod(info.uid, refuse('ENDPOINT_GONE', 'the pod was replaced'))
      pod = undefined
    }
    try {
      if (pod === undefined) {
        pod = new ServedPod(this.#context, info, number, namespaceFd, account)
        this.#pods.set(info.uid, pod)
        this.#byNumber.set(number, pod)
        this.#listen(pod, listeners)
      }
      pod.configure(inbound === null ? null : this.#policies.resolve(inbound))
      this.#serveEarly(pod)
      this.#context.post({ type: 'pod-ready', uid: info.uid })
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error)
      this.#context.post({ type: 'pod-failed', uid: info.uid, detail })
    }
  }

  #listen(pod: ServedPod, listeners: ReadonlyMap<ListenerKind, number>): void {
    const opened: TcpListener[] = []
    this.#listeners.set(pod.info.uid, opened)
    this.#listenerFds.set(pod.info.uid, listeners)
    for (const [kind, fd] of listeners) {
      if (isDatagramKind(kind)) {
        this.#dnsOf(pod).listen(fd)
        continue
      }
      const handler: AcceptHandler = {
        onAccept: (connection) => this.#onAccept(pod, kind, connection),
        onAcceptRefused: (error) => this.#onAcceptRefused(pod, error),
      }
      opened.push(new TcpListener(this.#context.reactor, fd, handler, true))
    }
  }

  #dnsOf(pod: ServedPod): DnsServer {
    const { uid } = pod.info
    const known = this.#dns.get(uid)
    if (known !== undefined) return known
    const server = new DnsServer(pod, this.#dnsResources)
    this.#dns.set(uid, server)
    return server
  }

  #onAccept(pod: ServedPod, kind: StreamKind, fd: number): void {
    const listener = pod.number * LISTENER_KINDS.length + LISTENER_KINDS.indexOf(kind)
    const { share, pressure } = this.#context
    pressure.onAccepted(fd)
    // Of a pod that leaves nothing is handed to a worker which may have said already that it has nothing open.
    if (this.#leaving.has(pod.number)) share.retain(ACCEPT_KIND[kind])
    else if (!share.keep(ACCEPT_KIND[kind], fd, listener)) return
    this.#serve(pod, kind, fd)
  }

  #serve(pod: ServedPod, kind: StreamKind, fd: number): void {
    if (kind !== 'dns-tcp' && kind !== 'dns-tcp6') ACCEPT[kind](pod, fd)
    else this.#dnsOf(pod).accept(fd, () => this.#context.share.released(ACCEPT_KIND[kind]))
  }

  /** A connection another worker accepted for us. */
  #adopt(fd: number, listener: number): void {
    const kind = LISTENER_KINDS[listener % LISTENER_KINDS.length]
    const number = Math.floor(listener / LISTENER_KINDS.length)
    if (kind === undefined || isDatagramKind(kind)) return
    const pod = this.#byNumber.get(number)
    if (pod !== undefined) this.#serve(pod, kind, fd)
    else this.#keepEarly({ fd, number, kind })
  }

  /** The other worker has heard of a new pod before this one, or this one that it is gone before the other. */
  #keepEarly(early: EarlyConnection): void {
    this.#early.add(early)
    this.#context.reactor.startTimer(EARLY_WAIT_MS, () => {
      if (!this.#early.delete(early)) return
      this.#context.reactor.closeLater(early.fd)
      this.#context.share.released(ACCEPT_KIND[early.kind])
    })
  }

  #serveEarly(pod: ServedPod): void {
    for (const early of this.#early) {
      if (early.number !== pod.number) continue
      this.#early.delete(early)
      this.#serve(pod, early.kind, early.fd)
    }
  }

  #onAcceptRefused(pod: ServedPod, error: MeshError): void {
    const { nowMs } = this.#context.reactor
    if (nowMs - this.#lastWarnedMs < WARN_INTERVAL_MS) return
    this.#lastWarnedMs = nowMs
    const fields = { uid: pod.info.uid, reason: error.code, detail: error.detail }
    this.#context.post({ type: 'log', level: 'warn', message: 'connections turned away', fields })
  }

  #onCertificate(message: Extract<DownMessage, { type: 'certificate' }>): void {
    const { identity, chainPem, privateKeyPem, rootsPem, trustBundleId } = message
    try {
      this.#context.identities.replace(identity, chainPem, privateKeyPem, rootsPem, trustBundleId)
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      const fields = { identity, reason: error.code, detail: error.detail }
      this.#context.post({
        type: 'log',
        level: 'error',
        message: 'certificate refused, the old one stays',
        fields,
      })
    }
  }

  #removePod(uid: string, reason: Refusal): void {
    const pod = this.#pods.get(uid)
    if (pod === undefined) return
    for (const listener of this.#listeners.get(uid) ?? []) listener.close()
    this.#listeners.delete(uid)
    this.#listenerFds.delete(uid)
    this.#pods.delete(uid)
    this.#byNumber.delete(pod.number)
    this.#leaving.delete(pod.number)
    this.#dns.get(uid)?.close(reason)
    this.#dns.delete(uid)
    pod.close(reason)
  }

  #report(what: ReportKind, answer: (report: WorkerReports[ReportKind]) => void): void {
    if (what === 'connections') answer(this.#connections())
    else if (what === 'holders') answer(reportHolders(this.#pods.values(), this.#index))
    else if (what === 'certificates') answer(this.#context.identities.presented())
    else if (what === 'tunnels') countTunnelCertificates(this.#context.reactor, answer)
    else answer(this.#turns())
  }

  #connections(): readonly ConnectionReport[] {
    return [...this.#pods.values()].flatMap((pod) =>
      [...pod.connections].flatMap((connection) => {
        const report = connection.report()
        return report === null ? [] : [{ worker: this.#index, uid: pod.info.uid, ...report }]
      }),
    )
  }

  #trim(): void {
    const startedMs = performance.now()
    trimMemory()
    this.#thread.reactor.onTrimmed(performance.now() - startedMs)
  }

  #turns(): TurnReport {
    const { reactor } = this.#context
    const { longestTurnMs, longestTrimMs, turnCount, busyMs } = reactor
    const longestTurnCpuMs = reactor.measuresCpu ? reactor.longestTurnCpuMs : null
    reactor.measuresCpu = true // somebody looks
    reactor.longestTurnCpuMs = 0
    reactor.longestTurnMs = 0
    reactor.longestTrimMs = 0
    return { longestTurnMs, longestTurnCpuMs, longestTrimMs, turnCount, busyMs }
  }

  #drain(): void {
    if (this.#isDraining) return
    this.#isDraining = true
    this.#drainPods([...this.#pods.keys()], () => this.#context.post({ type: 'drained' }))
  }

  /** It was let go of, and is back before all that it had open has ended. */
  #takeBack(uid: string): void {
    const pod = this.#pods.get(uid)
    if (pod === undefined || !this.#leaving.delete(pod.number)) return
    pod.resume()
    if (this.#listeners.has(uid)) return // not finished yet
    this.#listen(pod, this.#listenerFds.get(uid) ?? new Map())
  }

  /** Takes no new connections; what is open may finish. */
  #drainPods(uids: readonly string[], onIdle: () => void): void {
    // The kernel goes on to redirect ports that have asked before. Questions from them are ours, unless another generation has the pod.
    const handedOver = new Set(this.#isDraining ? uids.filter((uid) => !this.#isLeaving(uid)) : [])
    for (const uid of uids) this.#leaving.add(this.#pods.get(uid)?.number ?? -1)
    // Who is in the queue of a listening socket is redirected already: nobody else would take him.
    this.#context.reactor.startTimer(DRAIN_ACCEPT_MS, () => {
      for (const uid of uids.filter((each) => this.#isLeaving(each))) {
        for (const listener of this.#listeners.get(uid) ?? []) listener.finish()
        this.#listeners.delete(uid)
        if (handedOver.has(uid))
          (this.#dns.get(uid) ?? NO_DNS).drain(() => this.#context.post({ type: 'sockets-left', uid }))
        this.#pods.get(uid)?.drain()
      }
      this.#whenIdle(uids, onIdle)
    })
  }

  /** One that is gone altogether counts as leaving. */
  #isLeaving(uid: string): boolean {
    const pod = this.#pods.get(uid)
    return pod === undefined || this.#leaving.has(pod.number)
  }

  #whenIdle(uids: readonly string[], onIdle: () => void): void {
    const isIdle = (uid: string): boolean =>
      (this.#pods.get(uid)?.isIdle ?? true) && (this.#dns.get(uid)?.isIdle ?? true)
    if (!uids.every((uid) => this.#isLeaving(uid))) return // one is back
    if (uids.every(isIdle)) onIdle()
    else this.#context.reactor.startTimer(DRAIN_CHECK_MS, () => this.#whenIdle(uids, onIdle))
  }

  #stop(reason: 'DRAIN' | 'SHUTDOWN'): void {
    for (const uid of [...this.#pods.keys()]) this.#removePod(uid, refuse(reason, 'the process ends'))
    // One more turn: closing streams and sockets happens at the end of this one.
    this.#context.reactor.inNextTurn(() => this.#context.reactor.stop())
  }
}
