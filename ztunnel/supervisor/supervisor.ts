// SPDX-License-Identifier: Apache-2.0
// Keeps what must outlive a version: pods, their sockets and rules, and a data process that serves them. A pod that
// cannot be enrolled now is tried again; a data process that dies is replaced within a second.
import type { MeshError } from '../../mesh/errors/mesh-error.ts'
import { REASONS } from '../../mesh/errors/reasons.ts'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { releaseCodePages, trimMemory } from '../../mesh/reactor/trim-memory.ts'
import { Backoff } from '../../mesh/runtime/backoff.ts'
import { type ClockTimer, systemClock } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import { WatchedFile } from '../../mesh/runtime/watched-file.ts'
import type { ZtunnelConfig } from '../config.ts'
import type { DataMessage } from '../pods.ts'
import { DataProcess } from './data-process.ts'
import { type EnrolledPod, parseEnrolment } from './enrolment-file.ts'
import { PodSockets } from './pod-sockets.ts'

/** A pod whose namespace was not there is looked at again after this. */
const RETRY_POD_MS = 1000
const RESTART_FIRST_MS = 50
/** Longest wait between two starts: the promise is one second. */
const RESTART_MAX_MS = 900
/** A process that ran this long was healthy: the next restart is immediate again. */
const HEALTHY_AFTER_MS = 10_000
/** What the data process gets beyond the drain time before it is killed. */
const EXIT_GRACE_MS = 2500
/** Start-up garbage is collected this long after the data process became ready. */
const TRIM_DELAY_MS = 1000

/** The supervisor of one node. */
export class Supervisor {
  readonly #config: ZtunnelConfig
  readonly #args: readonly string[]
  readonly #log: Log
  readonly #pods = new Map<string, PodSockets>()
  readonly #enrolment: WatchedFile
  readonly #backoff = new Backoff({ initialMs: RESTART_FIRST_MS, maxMs: RESTART_MAX_MS, random: Math.random })
  #wanted: readonly EnrolledPod[] = []
  #data: DataProcess | null = null
  #startedMs = 0
  readonly #compileCache: string | null
  #retry: ClockTimer | null = null
  #isStopping = false

  /** `compileCache` null: there is none that can be trusted. */
  constructor(config: ZtunnelConfig, args: readonly string[], compileCache: string | null, log: Log) {
    this.#config = config
    this.#compileCache = compileCache
    this.#args = args
    this.#log = log
    this.#enrolment = new WatchedFile(config.enrolmentFile, systemClock, {
      onContent: (text) => this.#onEnrolment(text),
      onUnreadable: (cause) => log.warn({ err: cause }, 'enrolment file cannot be read'),
    })
  }

  async start(): Promise<void> {
    await this.#enrolment.start()
    this.#startData()
  }

  /** Drains, ends the data process, then un-enrols every pod. */
  async stop(): Promise<void> {
    this.#isStopping = true
    this.#enrolment.close()
    this.#retry?.cancel()
    this.#data?.send({ type: 'drain' })
    await this.#data?.ended(this.#config.drainSeconds * 1000 + EXIT_GRACE_MS)
    for (const sockets of this.#pods.values()) this.#closePod(sockets)
  }

  #startData(): void {
    if (this.#isStopping) return
    this.#startedMs = performance.now()
    const data = new DataProcess(this.#args, this.#compileCache, this.#log, {
      onMessage: (message) => this.#onDataMessage(message),
      onExit: (description) => this.#onDataExit(description),
    })
    this.#data = data
    for (const sockets of this.#pods.values()) data.addPod(sockets)
    data.send({ type: 'snapshot-sent' })
    this.#log.info({ pid: data.pid, pods: this.#pods.size }, 'data process started')
  }

  #onDataExit(description: string): void {
    this.#data = null
    if (this.#isStopping) return
    const wasHealthy = performance.now() - this.#startedMs > HEALTHY_AFTER_MS
    if (wasHealthy) this.#backoff.reset()
    const delayMs = wasHealthy ? 0 : this.#backoff.next()
    this.#log.error({ description, delayMs }, 'data process ended, restarting')
    setTimeout(() => this.#startData(), delayMs)
  }

  #onDataMessage(message: DataMessage): void {
    if (message.type === 'ready') {
      this.#log.info({ pods: this.#pods.size }, 'data process ready')
      setTimeout(() => {
        trimMemory()
        releaseCodePages()
      }, TRIM_DELAY_MS).unref()
    } else if (message.type === 'pod-failed') this.#log.warn({ ...message }, 'pod cannot be served')
    else this.#log.debug({ uid: message.uid }, 'pod served')
  }

  #onEnrolment(text: string): void {
    const pods = parseEnrolment(text, this.#config.enrolmentFile)
    if (isRefusal(pods)) {
      this.#log.error(
        { reason: pods.code, detail: pods.detail },
        'enrolment file refused, the last one stays',
      )
      return
    }
    this.#wanted = pods
    this.#reconcile()
  }

  /** Makes the served pods equal to the wanted ones; what fails is tried again later. */
  #reconcile(): void {
    this.#retry?.cancel()
    this.#retry = null
    const wanted = new Map(this.#wanted.map((pod) => [pod.uid, pod]))
    for (const [uid, sockets] of this.#pods) {
      const pod = wanted.get(uid)
      if (pod !== undefined && JSON.stringify(pod) === JSON.stringify(sockets.pod)) wanted.delete(uid)
      else this.#remove(uid, sockets)
    }
    let hasFailed = false
    for (const pod of wanted.values()) if (!this.#add(pod)) hasFailed = true
    if (hasFailed && !this.#isStopping) {
      this.#retry = systemClock.startTimer(RETRY_POD_MS, () => this.#reconcile())
    }
  }

  #add(pod: EnrolledPod): boolean {
    try {
      const sockets = PodSockets.open(pod, this.#config, this.#pods.values())
      this.#pods.set(pod.uid, sockets)
      this.#data?.addPod(sockets)
      this.#log.info({ uid: pod.uid, pod: pod.name, namespace: pod.namespace }, 'pod enrolled')
      return true
    } catch (error) {
      const { code, detail } = error as MeshError // as: PodSockets.open throws nothing else
      const { fix } = REASONS[code]
      this.#log.warn(
        { uid: pod.uid, pod: pod.name, reason: code, detail, fix },
        'pod cannot be enrolled, trying again',
      )
      return false
    }
  }

  #remove(uid: string, sockets: PodSockets): void {
    this.#pods.delete(uid)
    this.#data?.send({ type: 'pod-removed', uid })
    this.#closePod(sockets)
    this.#log.info({ uid }, 'pod un-enrolled')
  }

  #closePod(sockets: PodSockets): void {
    try {
      sockets.close()
    } catch (error) {
      const { code, detail } = error as MeshError // as: PodSockets.close throws nothing else
      this.#log.warn({ uid: sockets.pod.uid, reason: code, detail }, 'rules could not be removed')
    }
  }
}
