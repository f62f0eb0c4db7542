// SPDX-License-Identifier: Apache-2.0
// A reactor worker of the data process: takes pods, certificates and destinations from main, accepts on the pods' listeners and
// hands each connection to the room that carries it. Never returns to libuv while it runs.
import { MeshError } from '../mesh/errors/mesh-error.ts'
import { type Refusal, refuse } from '../mesh/errors/refusal.ts'
import { SessionResources } from '../mesh/h2/session-resources.ts'
import { RevokedPeers } from '../mesh/identity/revoked-peers.ts'
import { WorkerIdentities } from '../mesh/identity/worker-identities.ts'
import { AcceptShare } from '../mesh/reactor/accept-share.ts'
import { allocateBlock, freeBlock } from '../mesh/reactor/ffi/native.ts'
import { IdleTrim } from '../mesh/reactor/idle-trim.ts'
import { trimMemory } from '../mesh/reactor/trim-memory.ts'
import { ReactorThread } from '../mesh/reactor/worker.ts'
import { CaptureRing } from '../mesh/telemetry/capture-ring.ts'
import { TrafficCounters } from '../mesh/telemetry/counters.ts'
import { Latencies } from '../mesh/telemetry/latencies.ts'
import { RecordRing } from '../mesh/telemetry/record-ring.ts'
import { recordGuardRefusal } from './accept/passthrough-listener.ts'
import { PodDoors } from './accept/pod-doors.ts'
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

/** One worker of the data process. Made in its own thread. */
export class ZtunnelWorker {
  readonly #thread = new ReactorThread<DownMessage, UpMessage>()
  readonly #context: WorkerContext
  readonly #index: number
  readonly #policies = new WorkerPolicies()
  readonly #pods = new Map<string, ServedPod>()
  readonly #dnsResources: DnsResources
  readonly #doors: PodDoors
  #isDraining = false

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
    this.#doors = new PodDoors(this.#context, this.#dnsResources)
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
      () => this.#context.share.adoptAll((fd, listener) => this.#doors.adopt(fd, listener)),
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
        this.#doors.drain([uid], this.#isDraining, () => this.#context.post({ type: 'pod-left', uid }))
        break
      }
      case 'pod-returned':
        this.#doors.takeBack(message.uid)
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
        this.#doors.invalidateNames()
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
        this.#doors.dnsOf(message.uid)?.names.learn(message.name, message.queryType, message.verdict)
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
        this.#doors.open(pod, listeners)
      }
      pod.configure(inbound === null ? null : this.#policies.resolve(inbound))
      this.#doors.serveEarly(pod)
      this.#context.post({ type: 'pod-ready', uid: info.uid })
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error)
      this.#context.post({ type: 'pod-failed', uid: info.uid, detail })
    }
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
    this.#pods.delete(uid)
    this.#doors.close(uid, reason)
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
    this.#doors.drain([...this.#pods.keys()], true, () => this.#context.post({ type: 'drained' }))
  }

  #stop(reason: 'DRAIN' | 'SHUTDOWN'): void {
    for (const uid of [...this.#pods.keys()]) this.#removePod(uid, refuse(reason, 'the process ends'))
    // One more turn: closing streams and sockets happens at the end of this one.
    this.#context.reactor.inNextTurn(() => this.#context.reactor.stop())
  }
}
