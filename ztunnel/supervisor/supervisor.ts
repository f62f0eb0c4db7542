// SPDX-License-Identifier: Apache-2.0
// Keeps what must outlive a version: pods, their sockets and rules, and a data process that serves them. One that dies is
// replaced within a second. In an update two supervisors are on a node for a while: one leads, the other one has stood
// down, or is about to.
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import type { ChannelListener } from '../../mesh/reactor/channel-sockets.ts'
import { sendDescriptors } from '../../mesh/reactor/descriptor-passing.ts'
import { close } from '../../mesh/reactor/ffi/libc.ts'
import { QuietTrim } from '../../mesh/reactor/quiet-trim.ts'
import { Backoff } from '../../mesh/runtime/backoff.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import type { ZtunnelConfig } from '../config.ts'
import { handoverSocket, RETIRE_TIMEOUT_MS, supervisorSocket, type TakeMessage } from '../handover.ts'
import type { DataMessage } from '../pods.ts'
import { DataProcess, type DataProcessHandler } from './data-process.ts'
import { EnrolledPods } from './enroll/enrolled-pods.ts'
import { openGuard, type StrictGuard } from './enroll/strict-guard.ts'
import { EnrolmentSources } from './enrolment-sources.ts'
import { listenForNext, type NextSupervisor } from './next-supervisor.ts'
import { askForPods, findGeneration, isAnySupervisor } from './take-over.ts'

const RESTART_FIRST_MS = 50
/** Longest wait between two starts: the promise is one second. */
const RESTART_MAX_MS = 900
/** A process that ran this long was healthy: the next restart is immediate again. */
const HEALTHY_AFTER_MS = 10_000
/** What the data process gets beyond the drain time before it is killed. */
const EXIT_GRACE_MS = 2500
/** Rules and listeners of every pod are compared with what they should be this often. */
const DRIFT_CHECK_MS = 10_000
/** Who has stood down looks this often whether somebody leads, and leads again when nobody did so many times. */
const LEADER_LOOK_MS = 1_000
const LEADER_LOOKS = 3

/**
 *   leading ─► handing over ─► stood down ─► leading, when nobody is
 *      ▲             │
 *      └─────────────┘  the next supervisor did not come to serve
 */
type Role = 'leading' | 'handing-over' | 'stood-down'

/** The supervisor of one node. */
export class Supervisor {
  readonly #config: ZtunnelConfig
  readonly #args: readonly string[]
  readonly #log: Log
  readonly #pods: EnrolledPods
  readonly #guard: StrictGuard | null
  #sources: EnrolmentSources
  #role: Role = 'leading'
  #handover: Promise<void> = Promise.resolve()
  #listener: ChannelListener | null = null
  /** Channel of the supervisor whose pods these were, until they are served here. */
  #predecessorFd: number | null = null
  #onRetired: (() => void) | null = null
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
        this.#sources.watch?.onEnrolled(sockets.pod.uid)
        this.#data?.addPod(sockets)
      },
      onRemoved: (uid) => {
        this.#servedUids.delete(uid)
        this.#data?.send({ type: 'pod-removed', uid })
      },
      onLeaving: (uid) => {
        if (this.#data === null) this.#pods.onLeft(uid)
        else this.#data.send({ type: 'pod-leaving', uid })
      },
      onKept: (uid) => {
        this.#sources.watch?.onEnrolled(uid)
        if (this.#servedUids.has(uid)) this.#sources.watch?.onServed(uid)
      },
      onMended: (uid, detail) => {
        this.#sources.watch?.onMended(uid, detail)
        this.#data?.send({ type: 'pod-mended', uid })
      },
    })
    this.#guard = openGuard(config, log, {
      onRefused: (uid, ends) => {
        if (this.#data !== null) this.#data.send({ type: 'guard-refused', uid, ...ends })
        else log.warn({ uid, ...ends, reason: 'PLAINTEXT_REFUSED' }, 'refused by the guard')
      },
      onCounted: (uid, count) => this.#data?.send({ type: 'guard-counted', uid, count }),
    })
    this.#sources = new EnrolmentSources(config, this.#pods, this.#guard, log)
  }

  /** @throws ALREADY_RUNNING */
  async start(): Promise<void> {
    await this.#lead()
    this.#checkDrift()
  }

  /** Drains, ends the data process, then un-enrols every pod; those of another supervisor are left alone. */
  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#handover
    this.#listener?.close()
    // First, so that nobody tunnels to pods that are not served any more.
    if (this.#role === 'leading') {
      await this.#sources.stop()
      this.#pods.letGo()
      this.#guard?.close() // from here on plaintext is what they are sent
    }
    this.#data?.send({ type: 'drain', seconds: this.#config.drainSeconds })
    await this.#data?.ended(this.#config.drainSeconds * 1000 + EXIT_GRACE_MS)
    if (this.#role !== 'leading') return
    this.#pods.close()
    this.#sources.close()
  }

  /** Serves the pods of the node: those somebody serves already first. @throws ALREADY_RUNNING */
  async #lead(): Promise<void> {
    const { adminSocket } = this.#config
    const asked = await askForPods(supervisorSocket(adminSocket))
    if (asked === null) await this.#takeOver()
    else {
      this.#log.info({ predecessor: asked.pid, pods: asked.pods.length }, 'pods handed over')
      this.#pods.keep(asked.pods)
      this.#predecessorFd = asked.channelFd
    }
    await this.#sources.start()
    if (this.#data === null) this.#startData()
    this.#listen()
  }

  #listen(): void {
    try {
      this.#listener = listenForNext(supervisorSocket(this.#config.adminSocket), systemClock, (next) => {
        if (this.#role !== 'leading' || this.#isStopping) next.refuse()
        else this.#handover = this.#handOver(next)
      })
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      const { code, detail } = error
      this.#log.warn({ reason: code, detail }, 'pods cannot be handed over to a next supervisor')
    }
  }

  /** A data process whose supervisor has died goes on under this one. */
  async #takeOver(): Promise<void> {
    const found = await findGeneration(handoverSocket(this.#config.adminSocket))
    if (found === null) return
    const { pid, channelFd, pods } = found
    this.#pods.keep(pods)
    this.#startedMs = performance.now()
    this.#data = DataProcess.takeOver(pid, channelFd, this.#dataHandler)
    this.#guard?.begin() // the process says at once what is closed
    this.#data.send({ type: 'snapshot-sent' }) // its first supervisor may not have come so far
    this.#log.info({ pid, pods: pods.length }, 'data process taken over')
  }

  /** The next supervisor gets all pods. Both data processes serve them until the other one says that it does. */
  async #handOver(next: NextSupervisor): Promise<void> {
    this.#role = 'handing-over'
    this.#log.info({ next: next.pid, pods: this.#pods.count }, 'another supervisor takes the pods')
    await this.#sources.abandon()
    this.#guard?.suspend()
    await this.#retireData()
    this.#listener?.close()
    next.give(this.#pods.served)
    if (await next.isServing) this.#standDown()
    else await this.#resume()
  }

  /** What there can be only one of on the node is free for the next data process. */
  async #retireData(): Promise<void> {
    if (this.#data === null) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#onRetired = resolve
    this.#data.send({ type: 'retire' })
    const timer = systemClock.startTimer(RETIRE_TIMEOUT_MS, resolve)
    await promise
    timer.cancel()
  }

  #standDown(): void {
    this.#role = 'stood-down'
    this.#log.info('the next supervisor serves; connections of this one may end in their time')
    this.#data?.send({ type: 'drain', seconds: null })
    this.#guard?.forget()
    this.#pods.abandon()
    this.#watchLeader(0)
  }

  /** The next supervisor is gone before it served. */
  async #resume(): Promise<void> {
    this.#role = 'leading'
    this.#log.warn({ reason: 'HANDOVER_FAILED' }, 'the next supervisor does not serve; going on')
    this.#data?.send({ type: 'resume' })
    this.#guard?.begin()
    if (this.#data === null) this.#startData()
    this.#sources = new EnrolmentSources(this.#config, this.#pods, this.#guard, this.#log)
    await this.#sources.start()
    this.#listen()
  }

  /** Until somebody has not led for a while: then this one does. */
  #watchLeader(absences: number): void {
    setTimeout(() => {
      if (this.#isStopping) return
      const count = isAnySupervisor(supervisorSocket(this.#config.adminSocket)) ? 0 : absences + 1
      if (count < LEADER_LOOKS) this.#watchLeader(count)
      else void this.#leadAgain()
    }, LEADER_LOOK_MS)
  }

  async #leadAgain(): Promise<void> {
    this.#log.warn({ reason: 'SUPERVISOR_LOST' }, 'nobody serves the pods of the node: leading again')
    const drained = this.#data
    this.#data = null
    drained?.send({ type: 'drain', seconds: this.#config.drainSeconds })
    this.#role = 'leading'
    this.#sources = new EnrolmentSources(this.#config, this.#pods, this.#guard, this.#log)
    await this.#lead().catch((error: unknown) => {
      this.#log.warn({ err: error }, 'somebody else was faster')
      this.#role = 'stood-down'
      this.#watchLeader(0)
    })
  }

  /** Until the end. */
  #checkDrift(): void {
    setTimeout(() => {
      if (this.#isStopping) return
      const isChecked = this.#role === 'leading' ? this.#pods.checkDrift() : Promise.resolve()
      void isChecked.then(() => {
        this.#trim.onWork()
        this.#checkDrift()
      })
    }, DRIFT_CHECK_MS).unref()
  }

  #startData(): void {
    if (this.#isStopping || this.#role === 'stood-down') return
    this.#startedMs = performance.now()
    const data = DataProcess.start(this.#args, this.#compileCache, this.#log, this.#dataHandler)
    this.#data = data
    for (const sockets of this.#pods.served) data.addPod(sockets)
    data.send({ type: 'snapshot-sent' })
    this.#log.info({ pid: data.pid, pods: this.#pods.count }, 'data process started')
  }

  get #dataHandler(): DataProcessHandler {
    return {
      onMessage: (message, data) => {
        if (data === this.#data) this.#onDataMessage(message)
      },
      onExit: (description, data) => {
        if (data === this.#data) this.#onDataExit(description)
      },
    }
  }

  #onDataExit(description: string): void {
    this.#data = null
    this.#onRetired?.()
    this.#servedUids.clear()
    this.#sources.watch?.onUnserved()
    if (this.#isStopping || this.#role !== 'leading') return
    const wasHealthy = performance.now() - this.#startedMs > HEALTHY_AFTER_MS
    if (wasHealthy) this.#backoff.reset()
    const delayMs = wasHealthy ? 0 : this.#backoff.next()
    this.#log.error({ description, delayMs }, 'data process ended, restarting')
    setTimeout(() => this.#startData(), delayMs)
  }

  #onDataMessage(message: DataMessage): void {
    switch (message.type) {
      case 'ready':
        this.#log.info({ pods: this.#pods.count }, 'data process ready')
        this.#trim.onWork()
        this.#guard?.begin()
        this.#tellPredecessor()
        break
      case 'closed-ports':
        // Of a pod that has gone meanwhile nothing is kept.
        if (this.#pods.isServed(message.uid)) this.#guard?.setClosed(message.uid, message.ports)
        break
      case 'retired':
        this.#onRetired?.()
        break
      case 'pod-left':
        this.#pods.onLeft(message.uid)
        break
      case 'pod-failed':
        this.#log.warn({ ...message }, 'pod cannot be served')
        break
      case 'pod-ready':
        this.#log.debug({ uid: message.uid }, 'pod served')
        this.#servedUids.add(message.uid)
        this.#sources.watch?.onServed(message.uid)
    }
  }

  /** From now on this one serves; the one before may drain. */
  #tellPredecessor(): void {
    const fd = this.#predecessorFd
    if (fd === null) return
    this.#predecessorFd = null
    try {
      sendDescriptors(fd, Buffer.from(JSON.stringify({ type: 'serving' } satisfies TakeMessage)))
    } catch {
      // it has ended meanwhile
    }
    close(fd)
  }
}
