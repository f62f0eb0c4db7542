// SPDX-License-Identifier: Apache-2.0
// Keeps what must outlive a version: pods, their sockets and rules, and the data processes that serve them. In an update two
// supervisors are on a node for a while: one leads, the other one has stood down, or is about to (generation-state.ts).
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { REASONS } from '../../mesh/errors/reasons.ts'
import { Generations } from '../../mesh/generations/generations.ts'
import { givingSocket, handoverSocket, supervisorSocket } from '../../mesh/generations/handover.ts'
import { UNKNOWN_HEALTH } from '../../mesh/generations/node-health.ts'
import {
  askForPods,
  type FoundPod,
  findGeneration,
  isAnySupervisor,
} from '../../mesh/generations/take-over.ts'
import type { ChannelListener } from '../../mesh/reactor/channel-sockets.ts'
import { QuietTrim } from '../../mesh/reactor/quiet-trim.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import type { ZtunnelConfig } from '../config.ts'
import { endDraining } from '../draining-generations.ts'
import { ConntrackWatch, nodeTable, readConntrack, type WatchedTable } from './conntrack-watch.ts'
import { EnrolledPods } from './enroll/enrolled-pods.ts'
import { openGuard, type StrictGuard } from './enroll/strict-guard.ts'
import type { EnrolledPod } from './enrolment-file.ts'
import { EnrolmentSources } from './enrolment-sources.ts'
import { listenForNext, type NextSupervisor } from './next-supervisor.ts'
import { Predecessor } from './predecessor.ts'

const DATA_PROGRAM = fileURLToPath(new URL('../main.ts', import.meta.url))
/** Rules and listeners of every pod are compared with what they should be this often. */
const DRIFT_CHECK_MS = 10_000
/** Who has stood down looks this often whether somebody leads, and leads again when nobody did so many times. */
const LEADER_LOOK_MS = 1_000
const LEADER_LOOKS = 3
/** Who was too slow to take the pods asks for them again after so many looks. */
const LOOKS_BEFORE_ASKING = 10

/** The supervisor of one node. */
export class Supervisor {
  readonly #config: ZtunnelConfig
  readonly #log: Log
  readonly #pods: EnrolledPods
  readonly #guard: StrictGuard | null
  readonly #generations: Generations
  #sources: EnrolmentSources
  readonly #conntrack: ConntrackWatch
  /** What the data process was told last. */
  #toldHealth = UNKNOWN_HEALTH
  #handover: Promise<void> = Promise.resolve()
  #listener: ChannelListener | null = null
  /** In its place while the pods are given away. */
  #giving: ChannelListener | null = null
  /** Whose pods these were. */
  #predecessor: Predecessor | null = null
  /** It was too slow to take the pods, and is to have them all the same. */
  #asksAgain = false
  /** What begins when this one is to lead. */
  #beginning: Promise<void> = Promise.resolve()
  readonly #trim = new QuietTrim(systemClock)

  /** `compileCache` null: there is none that can be trusted. */
  constructor(config: ZtunnelConfig, args: readonly string[], compileCache: string | null, log: Log) {
    this.#config = config
    this.#log = log
    this.#pods = new EnrolledPods(config, systemClock, log, {
      onAdded: (sockets) => {
        this.#sources.watch?.onEnrolled(sockets.pod.uid)
        this.#generations.addPod(sockets)
      },
      onRemoved: (uid) => this.#generations.removePod(uid),
      onLeaving: (uid) => this.#generations.letGo(uid),
      onReturned: (sockets) => {
        const { uid } = sockets.pod
        this.#sources.watch?.onEnrolled(uid)
        this.#generations.takeBack(sockets)
        if (this.#generations.isServed(uid)) this.#sources.watch?.onServed(uid)
      },
      onKept: (uid) => {
        this.#sources.watch?.onEnrolled(uid)
        if (this.#generations.isServed(uid)) this.#sources.watch?.onServed(uid)
      },
      onMended: (uid, detail) => {
        this.#sources.watch?.onMended(uid, detail)
        this.#generations.tell({ type: 'pod-mended', uid })
      },
    })
    this.#guard = openGuard(config, log, {
      onRefused: (uid, ends) => {
        if (!this.#generations.tell({ type: 'guard-refused', uid, ...ends }))
          log.warn({ uid, ...ends, reason: 'PLAINTEXT_REFUSED' }, 'refused by the guard')
      },
      onCounted: (uid, count) => this.#generations.tell({ type: 'guard-counted', uid, count }),
    })
    this.#sources = this.#openSources()
    this.#conntrack = new ConntrackWatch({
      // Who does not lead has no pods: what it would say of the node says the other one.
      tables: () => (this.#generations.role === 'leading' ? this.#tables() : []),
      ...{ clock: systemClock, log, onLook: () => this.#tellHealth() },
    })
    this.#generations = new Generations({
      room: 'ztunnel',
      program: DATA_PROGRAM,
      ...{ config, args, compileCache, log },
      handler: {
        pods: () => this.#pods.served,
        isBeside: () => this.#predecessor?.serves ?? false,
        onServing: () => this.#onServing(),
        onServed: (uid) => this.#sources.watch?.onServed(uid),
        onUnserved: () => this.#sources.watch?.onUnserved(),
        // Of a pod that has gone meanwhile nothing is kept.
        onClosedPorts: (uid, ports) => {
          if (this.#pods.isServed(uid)) this.#guard?.setClosed(uid, ports)
        },
        onPodLeft: (uid) => this.#pods.onLeft(uid),
      },
    })
  }

  /** @throws ALREADY_RUNNING */
  async start(): Promise<void> {
    await this.#begin()
    this.#checkDrift()
    this.#conntrack.start()
  }

  /** Starts the next generation of the data process; who serves now drains when that one does. Why not is in the log. */
  upgrade(): void {
    this.#generations.upgrade()
  }

  /**
   * Drains, ends the data processes, then un-enrols every pod. Where another supervisor leads the node its pods are left alone,
   * and what is open here ends as after any upgrade.
   */
  async stop(): Promise<void> {
    await this.#handover
    const isLeading = this.#generations.role === 'leading'
    this.#generations.stop()
    this.#conntrack.close()
    this.#listener?.close()
    if (!isLeading) {
      await this.#generations.gone()
      return
    }
    // What was accepted before has had its time, and needs rules that are about to go.
    await endDraining(this.#config.adminSocket, 0)
    // First, so that nobody tunnels to pods that are not served any more.
    await this.#sources.stop()
    this.#pods.letGo()
    this.#guard?.close() // from here on plaintext is what they are sent
    await this.#generations.end()
    this.#pods.close()
    this.#sources.close()
  }

  #begin(): Promise<void> {
    this.#beginning = this.#lead()
    return this.#beginning
  }

  /** Serves the pods of the node: those somebody serves already first. @throws ALREADY_RUNNING */
  async #lead(): Promise<void> {
    const { adminSocket } = this.#config
    const asked = await askForPods(supervisorSocket(adminSocket))
    if (asked === null) await this.#takeOver()
    else {
      this.#log.info({ predecessor: asked.pid, pods: asked.pods.length }, 'pods handed over')
      this.#pods.keep(asked.pods as FoundPod<EnrolledPod>[]) // as: it was told so by a supervisor of this program
      this.#predecessor = new Predecessor(asked.channelFd, {
        onTakenBack: () => {
          this.#handover = this.#withdraw()
        },
        onGone: () => {
          const { fix } = REASONS.HANDOVER_FAILED
          const detail = 'its data process drains, as nobody takes that over'
          const facts = { reason: 'HANDOVER_FAILED', predecessor: asked.pid, detail, fix }
          this.#log.warn(facts, 'the supervisor before ended in the middle of the hand-over; going on')
        },
      })
    }
    this.#pods.begin()
    await this.#sources.start()
    this.#generations.need()
    this.#listen()
  }

  #listen(): void {
    this.#listener = this.#listenAt(supervisorSocket(this.#config.adminSocket), (next) => {
      const given = this.#generations.handOver()
      if (given === null) next.refuse()
      else this.#handover = this.#handOver(next, given)
    })
    this.#giving?.close()
    this.#giving = null
  }

  #listenAt(path: string, onTake: (next: NextSupervisor) => void): ChannelListener | null {
    try {
      return listenForNext(path, systemClock, onTake)
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      const { code, detail } = error
      this.#log.warn({ reason: code, detail }, 'pods cannot be handed over to a next supervisor')
      return null
    }
  }

  /** A data process whose supervisor has died goes on under this one. */
  async #takeOver(): Promise<void> {
    const found = await findGeneration(handoverSocket(this.#config.adminSocket))
    if (found === null) return
    const { pid, channelFd, pods } = found
    this.#pods.keep(pods as FoundPod<EnrolledPod>[]) // as: a supervisor of this program has told it so
    this.#generations.adopt(pid, channelFd)
    this.#guard?.begin() // the process says at once what is closed
    this.#generations.tell({ type: 'snapshot-sent' }) // its first supervisor may not have come so far
    this.#log.info({ pid, pods: pods.length }, 'data process taken over')
  }

  /** The next supervisor gets all pods. Both data processes serve them until the other one says that it does. */
  async #handOver(next: NextSupervisor, given: Promise<void>): Promise<void> {
    this.#log.info({ next: next.pid, pods: this.#pods.count }, 'another supervisor takes the pods')
    await this.#sources.abandon()
    this.#guard?.suspend()
    await given
    const path = givingSocket(supervisorSocket(this.#config.adminSocket))
    this.#giving = this.#listenAt(path, (another) => another.refuse())
    this.#listener?.close()
    next.give(this.#pods.served)
    if (await next.isServing) {
      this.#log.info('the next supervisor serves; connections of this one may end in their time')
      this.#standDown()
    } else await this.#resume(next)
  }

  /** Leaves the node to another supervisor. */
  #standDown(): void {
    this.#giving?.close()
    this.#giving = null
    this.#generations.onNext('next-serves')
    this.#guard?.forget()
    this.#pods.abandon()
    this.#watchLeader(0, 0)
  }

  /** The next supervisor is gone before it served, or took too long. */
  async #resume(next: NextSupervisor): Promise<void> {
    this.#log.warn({ reason: 'HANDOVER_FAILED' }, 'the next supervisor does not serve; going on')
    this.#generations.onNext('next-failed')
    this.#guard?.begin()
    this.#sources = this.#openSources()
    await this.#sources.start()
    void next.gone.then(() => {
      if (this.#generations.role !== 'leading') return
      this.#generations.takeAgain()
      this.#listen()
    })
  }

  /** This one was too slow: the one before has taken its pods back. What was accepted here may end in its time. */
  async #withdraw(): Promise<void> {
    this.#log.warn({ reason: 'HANDOVER_FAILED' }, 'the supervisor before goes on; asking it again later')
    await this.#beginning
    await this.#sources.abandon()
    this.#guard?.suspend()
    await this.#generations.handOver()
    this.#listener?.close()
    this.#asksAgain = true
    this.#standDown()
    this.#predecessor?.letGo()
    this.#predecessor = null
  }

  /** Until somebody has not led for a while, or it is time to ask again. */
  #watchLeader(looks: number, absences: number): void {
    setTimeout(() => {
      if (this.#generations.role !== 'stood-down') return
      const count = isAnySupervisor(supervisorSocket(this.#config.adminSocket)) ? 0 : absences + 1
      const isLost = count >= LEADER_LOOKS
      if (isLost)
        this.#log.warn({ reason: 'SUPERVISOR_LOST' }, 'nobody serves the pods of the node: leading again')
      if (isLost || (this.#asksAgain && looks >= LOOKS_BEFORE_ASKING)) void this.#leadAgain()
      else this.#watchLeader(looks + 1, count)
    }, LEADER_LOOK_MS)
  }

  async #leadAgain(): Promise<void> {
    this.#generations.onNext('leader-lost')
    this.#sources = this.#openSources()
    await this.#begin().catch((error: unknown) => {
      this.#log.warn({ err: error }, 'somebody else was faster')
      this.#generations.onNext('outrun')
      this.#watchLeader(0, 0)
    })
  }

  /** Until the end. */
  #checkDrift(): void {
    setTimeout(() => {
      const { role } = this.#generations
      if (role === 'stopping') return
      const isChecked = role === 'leading' ? this.#pods.checkDrift() : Promise.resolve()
      void isChecked.then(() => {
        this.#trim.onWork()
        this.#checkDrift()
      })
    }, DRIFT_CHECK_MS).unref()
  }

  #tables(): readonly WatchedTable[] {
    const pods = [...this.#pods.served].flatMap(({ namespace, pod }) =>
      namespace === null
        ? []
        : [
            {
              uid: pod.uid,
              namespace: pod.namespace,
              pod: pod.name,
              read: () => namespace.run(readConntrack),
            },
          ],
    )
    return [nodeTable(this.#config.hostNetworkPath), ...pods]
  }

  #openSources(): EnrolmentSources {
    return new EnrolmentSources(this.#config, this.#pods, this.#guard, this.#log, () => this.#tellHealth())
  }

  /** The one that serves has it among its metrics. */
  #tellHealth(isNews = false): void {
    const health = { ...this.#sources.health(), ...this.#conntrack.health() }
    if (!isNews && isDeepStrictEqual(health, this.#toldHealth)) return
    if (this.#generations.tell({ type: 'node-health', health })) this.#toldHealth = health
  }

  #onServing(): void {
    this.#asksAgain = false
    this.#trim.onWork()
    this.#tellHealth(true)
    this.#guard?.begin()
    this.#predecessor?.tellServing()
  }
}
