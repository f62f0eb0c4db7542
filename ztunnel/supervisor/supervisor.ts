// SPDX-License-Identifier: Apache-2.0
// Keeps what must outlive a version: pods, their sockets and rules, and a data process that serves them. One that dies is
// replaced within a second.
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { QuietTrim } from '../../mesh/reactor/quiet-trim.ts'
import { Backoff } from '../../mesh/runtime/backoff.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import { WatchedFile } from '../../mesh/runtime/watched-file.ts'
import type { ZtunnelConfig } from '../config.ts'
import { handoverSocket } from '../handover.ts'
import type { DataMessage } from '../pods.ts'
import { DataProcess, type DataProcessHandler } from './data-process.ts'
import type { CniAgent } from './enroll/cni/cni-agent.ts'
import { EnrolledPods } from './enroll/enrolled-pods.ts'
import type { PodWatch } from './enroll/pod-watch.ts'
import type { ZdsClient } from './enroll/zds-client.ts'
import { parseEnrolment } from './enrolment-file.ts'
import { findGeneration } from './take-over.ts'

const RESTART_FIRST_MS = 50
/** Longest wait between two starts: the promise is one second. */
const RESTART_MAX_MS = 900
/** A process that ran this long was healthy: the next restart is immediate again. */
const HEALTHY_AFTER_MS = 10_000
/** What the data process gets beyond the drain time before it is killed. */
const EXIT_GRACE_MS = 2500
/** Rules and listeners of every pod are compared with what they should be this often. */
const DRIFT_CHECK_MS = 10_000

/** The supervisor of one node. */
export class Supervisor {
  readonly #config: ZtunnelConfig
  readonly #args: readonly string[]
  readonly #log: Log
  readonly #pods: EnrolledPods
  readonly #enrolment: WatchedFile | null
  #agent: ZdsClient | null = null
  #watch: PodWatch | null = null
  #cni: CniAgent | null = null
  readonly #backoff = new Backoff({ initialMs: RESTART_FIRST_MS, maxMs: RESTART_MAX_MS, random: Math.random })
  readonly #trim = new QuietTrim(systemClock)
  #data: DataProcess | null = null
  /** Pods that the data process has said it serves. */
  readonly #servedUids = new Set<string>()
  #startedMs = 0
  readonly #compileCache: string | null
  #isStopping = false

  /** `compileCache` null: there is none that can be trusted. */
  constructor(config: ZtunnelConfig, args: readonly string[], compileCache: string | null, log: Log) {
    this.#config = config
    this.#compileCache = compileCache
    this.#args = args
    this.#log = log
    this.#pods = new EnrolledPods(config, systemClock, log, {
      onAdded: (sockets) => {
        this.#watch?.onEnrolled(sockets.pod.uid)
        this.#data?.addPod(sockets)
      },
      onRemoved: (uid) => {
        this.#servedUids.delete(uid)
        this.#data?.send({ type: 'pod-removed', uid })
      },
      onKept: (uid) => {
        this.#watch?.onEnrolled(uid)
        if (this.#servedUids.has(uid)) this.#watch?.onServed(uid)
      },
      onMended: (uid, detail) => {
        this.#watch?.onMended(uid, detail)
        this.#data?.send({ type: 'pod-mended', uid })
      },
    })
    const { enrolmentFile } = config
    this.#enrolment =
      enrolmentFile === ''
        ? null
        : new WatchedFile(enrolmentFile, systemClock, {
            onContent: (text) => this.#onEnrolment(text),
            onUnreadable: (cause) => log.warn({ err: cause }, 'enrolment file cannot be read'),
          })
  }

  /** @throws ALREADY_RUNNING */
  async start(): Promise<void> {
    await this.#takeOver()
    await this.#enrolment?.start()
    await this.#startAgent()
    this.#checkDrift()
    await this.#startWatch()
    if (this.#data === null) this.#startData()
  }

  /** A data process whose supervisor has died goes on under this one. */
  async #takeOver(): Promise<void> {
    const found = await findGeneration(handoverSocket(this.#config.adminSocket))
    if (found === null) return
    const { pid, channelFd, pods } = found
    this.#pods.keep(pods)
    this.#startedMs = performance.now()
    this.#data = DataProcess.takeOver(pid, channelFd, this.#dataHandler)
    this.#data.send({ type: 'snapshot-sent' }) // its first supervisor may not have come so far
    this.#log.info({ pid, pods: pods.length }, 'data process taken over')
  }

  /** Drains, ends the data process, then un-enrols every pod. */
  async stop(): Promise<void> {
    this.#isStopping = true
    this.#enrolment?.close()
    this.#agent?.stop()
    // First, so that nobody tunnels to pods that are not served any more.
    await Promise.all([this.#cni?.stop(), this.#watch?.stop()])
    this.#data?.send({ type: 'drain' })
    await this.#data?.ended(this.#config.drainSeconds * 1000 + EXIT_GRACE_MS)
    this.#pods.close()
    this.#watch?.close()
  }

  /** Until the end. */
  #checkDrift(): void {
    setTimeout(() => {
      if (this.#isStopping) return
      void this.#pods.checkDrift().then(() => {
        this.#trim.onWork()
        this.#checkDrift()
      })
    }, DRIFT_CHECK_MS).unref()
  }

  async #startAgent(): Promise<void> {
    const { zdsSocket: path } = this.#config
    if (path === '') return
    // Loaded only where there is an agent: protobuf has its price in memory.
    const { ZdsClient } = await import('./enroll/zds-client.ts')
    const { random } = Math
    this.#agent = new ZdsClient({ path, roster: this.#pods, clock: systemClock, random, log: this.#log })
    this.#agent.start()
  }

  async #startWatch(): Promise<void> {
    const { kubernetesEnrolment, apiserverHost: host, apiserverPort: port } = this.#config
    if (!kubernetesEnrolment) return
    const { serviceAccountDirectory, hostProcPath: procPath, nodeName } = this.#config
    const hostNetworkPath = this.#config.redirect ? this.#config.hostNetworkPath : ''
    // Loaded only where there is an apiserver: TLS has its price in memory.
    const { startPodWatch } = await import('./enroll/start-pod-watch.ts')
    const { sealedPlace } = await import('../snapshot/sealed-place.ts')
    const { watch, client } = await startPodWatch({
      ...{ host, port, serviceAccountDirectory, nodeName, procPath, hostNetworkPath },
      ...{ roster: this.#pods, clock: systemClock, log: this.#log },
      saved: sealedPlace(this.#config, 'pods'),
    })
    this.#watch = watch
    if (this.#config.cniSpoolDirectory === '') return
    const { CniAgent } = await import('./enroll/cni/cni-agent.ts')
    this.#cni = new CniAgent({ config: this.#config, client, watch, clock: systemClock, log: this.#log })
    this.#cni.start()
  }

  #startData(): void {
    if (this.#isStopping) return
    this.#startedMs = performance.now()
    const data = DataProcess.start(this.#args, this.#compileCache, this.#log, this.#dataHandler)
    this.#data = data
    for (const sockets of this.#pods.served) data.addPod(sockets)
    data.send({ type: 'snapshot-sent' })
    this.#log.info({ pid: data.pid, pods: this.#pods.count }, 'data process started')
  }

  get #dataHandler(): DataProcessHandler {
    return {
      onMessage: (message) => this.#onDataMessage(message),
      onExit: (description) => this.#onDataExit(description),
    }
  }

  #onDataExit(description: string): void {
    this.#data = null
    this.#servedUids.clear()
    this.#watch?.onUnserved()
    if (this.#isStopping) return
    const wasHealthy = performance.now() - this.#startedMs > HEALTHY_AFTER_MS
    if (wasHealthy) this.#backoff.reset()
    const delayMs = wasHealthy ? 0 : this.#backoff.next()
    this.#log.error({ description, delayMs }, 'data process ended, restarting')
    setTimeout(() => this.#startData(), delayMs)
  }

  #onDataMessage(message: DataMessage): void {
    if (message.type === 'ready') {
      this.#log.info({ pods: this.#pods.count }, 'data process ready')
      this.#trim.onWork()
    } else if (message.type === 'pod-failed') this.#log.warn({ ...message }, 'pod cannot be served')
    else {
      this.#log.debug({ uid: message.uid }, 'pod served')
      this.#servedUids.add(message.uid)
      this.#watch?.onServed(message.uid)
    }
  }

  #onEnrolment(text: string): void {
    const pods = parseEnrolment(text, this.#config.enrolmentFile)
    if (!isRefusal(pods)) this.#pods.list(pods)
    else
      this.#log.error(
        { reason: pods.code, detail: pods.detail },
        'enrolment file refused, the last one stays',
      )
  }
}
