// SPDX-License-Identifier: Apache-2.0
// The generations of the data process: started beside each other on the same listening sockets, so that the one before may
// drain while the next one serves. Does what generation-state.ts decides.
import { realpathSync } from 'node:fs'
import { dirname } from 'node:path'
import { REASONS } from '../errors/reasons.ts'
import type { PortSet } from '../net/port-set.ts'
import { Backoff } from '../runtime/backoff.ts'
import { type ClockTimer, systemClock } from '../runtime/clock.ts'
import type { Log } from '../runtime/log.ts'
import { compileCacheDirectory, type ProgramRoom, warmCompileCache } from './compile-cache.ts'
import { DataProcess, type DataProcessHandler, type PodDescriptors } from './data-process.ts'
import {
  decideGenerations,
  drainingGenerations,
  FIRST_STANDING,
  type GenerationEffect,
  type GenerationEvent,
  generationIn,
  type Role,
  type Standing,
} from './generation-state.ts'
import { RETIRE_TIMEOUT_MS, SERVING_TIMEOUT_MS } from './handover.ts'
import type { DataMessage, SupervisorMessage } from './pods.ts'

const RESTART_FIRST_MS = 50
/** Longest wait between two starts: the promise is one second. */
const RESTART_MAX_MS = 900
/** A process that ran this long was healthy: the next restart is immediate again. */
const HEALTHY_AFTER_MS = 10_000
/** What the data process gets beyond the drain time before it is killed. */
const EXIT_GRACE_MS = 2500

/** Who keeps the pods. */
export interface GenerationsHandler {
  /** All there are. */
  readonly pods: () => Iterable<PodDescriptors>
  /** The data process of another supervisor serves them too. */
  readonly isBeside: () => boolean
  /** The one that serves is ready. */
  onServing(): void
  onServed(uid: string): void
  onUnserved(): void
  onClosedPorts(uid: string, ports: PortSet): void
  /** No generation has anything open of it any more. */
  onPodLeft(uid: string): void
}

/** What is known of one. */
interface Generation {
  readonly process: DataProcess
  readonly startedMs: number
  /** Pods it was given and keeps. */
  readonly given: Set<string>
  /** Pods it serves, and what it has said of them. */
  readonly served: Set<string>
  readonly closedPorts: Map<string, PortSet>
}

/** What generations are told by their supervisor's options. */
export interface GenerationsConfig {
  readonly adminSocket: string
  /** Read again at every upgrade; '': `program`. */
  readonly dataProgram: string
  readonly drainSeconds: number
  /** 0: until everything has ended. */
  readonly upgradeDrainSeconds: number
}

export interface GenerationsOptions {
  readonly config: GenerationsConfig
  readonly room: ProgramRoom
  /** Of the data process, beside the supervisor. */
  readonly program: string
  /** Of this program: data processes are given the same. */
  readonly args: readonly string[]
  /** null: there is none that can be trusted. */
  readonly compileCache: string | null
  readonly log: Log
  readonly handler: GenerationsHandler
}

export class Generations {
  readonly #options: GenerationsOptions
  #compileCache: string | null
  #standing: Standing = FIRST_STANDING
  readonly #running = new Map<number, Generation>()
  /** Of those that are to be ready, or retired, within a time. */
  readonly #timers = new Map<number, ClockTimer>()
  /** Generations that may have something open of a pod that leaves. */
  readonly #leaving = new Map<string, Set<number>>()
  readonly #backoff = new Backoff({ initialMs: RESTART_FIRST_MS, maxMs: RESTART_MAX_MS, random: Math.random })
  #onGive: (() => void) | null = null
  #refusal: string | null = null
  /** Generations that broke while they drained, and that never came to serve. */
  #lostCount = 0
  #failedCount = 0

  constructor(options: GenerationsOptions) {
    this.#options = options
    this.#compileCache = options.compileCache
  }

  get role(): Role {
    return this.#standing.role
  }

  /** Starts one unless one serves. */
  need(): void {
    this.#on({ type: 'needed' })
  }

  /** One that a dead supervisor has left behind; the descriptor of its channel is this one's. */
  adopt(pid: number, channelFd: number): void {
    const generation = this.#standing.lastNumber + 1
    this.#on({ type: 'adopted' })
    this.#keep(generation, DataProcess.takeOver(pid, channelFd, this.#handlerOf(generation)))
    this.#tellCounts()
  }

  /** Starts the next one beside the one that serves. Why not; null: it has begun. */
  upgrade(): string | null {
    this.#refusal = null
    this.#on({ type: 'upgrade' })
    const { log } = this.#options
    if (this.#refusal !== null) log.warn({ why: this.#refusal }, 'upgrade refused')
    return this.#refusal
  }

  /** Another supervisor asks: resolves when what there can be only one of is free. Null: it is refused. */
  handOver(): Promise<void> | null {
    const { promise, resolve } = Promise.withResolvers<void>()
    if (this.role !== 'leading') return null
    this.#onGive = resolve
    this.#on({ type: 'asked' })
    return promise
  }

  /** What there can be only one of on a node is free now: the one that serves has not got it, or not all. */
  takeAgain(): void {
    const serving = generationIn(this.#standing, 'serving')
    if (serving !== null) this.#send(serving, { type: 'lead', isBeside: false })
  }

  /** What has become of it. */
  onNext(type: 'next-serves' | 'next-failed' | 'leader-lost' | 'outrun'): void {
    this.#on({ type })
  }

  addPod(sockets: PodDescriptors): void {
    for (const generation of this.#accepting) give(generation, sockets)
  }

  /** What was open of it ends in all generations: they keep nothing of it. */
  removePod(uid: string): void {
    this.#leaving.delete(uid)
    for (const { process, given, served, closedPorts } of this.#running.values()) {
      given.delete(uid)
      served.delete(uid)
      closedPorts.delete(uid)
      process.send({ type: 'pod-removed', uid })
    }
  }

  /** Answered by onPodLeft(). */
  letGo(uid: string): void {
    this.#leaving.set(uid, new Set(this.#running.keys()))
    for (const { process } of this.#running.values()) process.send({ type: 'pod-leaving', uid })
    this.#onLeft(uid, null)
  }

  /** After letGo(), before onPodLeft(): it is served again, on the same sockets. */
  takeBack(sockets: PodDescriptors): void {
    const { uid } = sockets.pod
    this.#leaving.delete(uid)
    for (const generation of this.#accepting)
      if (generation.given.has(uid)) generation.process.send({ type: 'pod-returned', uid })
      else give(generation, sockets) // it was started meanwhile
    // Said while it left, and not again.
    const ports = this.#serving?.closedPorts.get(uid)
    if (ports !== undefined) this.#options.handler.onClosedPorts(uid, ports)
  }

  /** To the one that serves. False: there is none. */
  tell(message: SupervisorMessage): boolean {
    const serving = this.#serving
    serving?.process.send(message)
    return serving !== undefined
  }

  isServed(uid: string): boolean {
    return this.#serving?.served.has(uid) ?? false
  }

  /** Before end(): from now on whoever dies is not replaced. */
  stop(): void {
    this.#on({ type: 'stop' })
  }

  /** All have ended, without being told to: after stop(). */
  async gone(): Promise<void> {
    await Promise.all([...this.#running.values()].map(({ process }) => process.gone))
  }

  /** All end, within the drain time of the node. */
  async end(): Promise<void> {
    const { drainSeconds } = this.#options.config
    const all = [...this.#running.values()].map(({ process }) => process)
    for (const process of all) process.send({ type: 'drain', seconds: drainSeconds })
    await Promise.all(all.map((process) => process.ended(drainSeconds * 1000 + EXIT_GRACE_MS)))
  }

  /** What a data process is started from. */
  get #program(): string {
    const { config, program } = this.#options
    return config.dataProgram === '' ? program : config.dataProgram
  }

  get #serving(): Generation | undefined {
    return this.#running.get(generationIn(this.#standing, 'serving', 'retiring', 'retired') ?? -1)
  }

  /** Those that take what is new. */
  get #accepting(): readonly Generation[] {
    const { generations } = this.#standing
    return [...this.#running].flatMap(([number, generation]) =>
      generations.has(number) && generations.get(number) !== 'draining' ? [generation] : [],
    )
  }

  #on(event: GenerationEvent): void {
    const { standing, effects } = decideGenerations(this.#standing, event)
    this.#standing = standing
    for (const effect of effects) this.#do(effect)
    if (effects.length > 0) this.#tellCounts()
  }

  #do(effect: GenerationEffect): void {
    const { config, log, handler } = this.#options
    switch (effect.do) {
      case 'start':
        if (effect.isBeside) void this.#startBeside(effect.generation)
        else this.#launch(effect.generation)
        break
      case 'restart':
        this.#restart()
        break
      case 'refuse':
        this.#refusal = effect.why
        break
      case 'lead':
        this.#lead(effect.generation)
        break
      case 'retire':
        this.#send(effect.generation, { type: 'retire' })
        this.#within(effect.generation, 'retired', RETIRE_TIMEOUT_MS)
        break
      case 'drain': {
        const seconds = config.upgradeDrainSeconds === 0 ? null : config.upgradeDrainSeconds
        this.#send(effect.generation, { type: 'drain', seconds })
        log.info({ ...this.#facts(effect.generation), seconds }, 'the data process before drains')
        break
      }
      case 'cut': {
        log.warn({ ...this.#facts(effect.generation), reason: 'DRAIN' }, 'too many drain: the oldest is cut')
        this.#send(effect.generation, { type: 'drain', seconds: 0 })
        void this.#running.get(effect.generation)?.process.ended(EXIT_GRACE_MS)
        break
      }
      case 'kill':
        this.#timers.get(effect.generation)?.cancel()
        void this.#running.get(effect.generation)?.process.ended(0)
        break
      case 'report-failed': {
        this.#failedCount++
        const { fix } = REASONS.HANDOVER_FAILED
        const facts = { ...this.#facts(effect.generation), reason: 'HANDOVER_FAILED', fix }
        log.error(facts, 'the next data process does not serve; going on with the one before')
        break
      }
      case 'report-lost': {
        this.#lostCount++
        const { fix } = REASONS.GENERATION_LOST
        const facts = { ...this.#facts(effect.generation), reason: 'GENERATION_LOST', fix }
        log.error(facts, 'a draining data process has died with its connections')
        break
      }
      case 'report-serving':
        handler.onServing()
        break
      case 'report-unserved':
        handler.onUnserved()
        break
      case 'give':
        this.#onGive?.()
    }
  }

  /** What stands on the disk now, which may be another version than what runs. */
  async #startBeside(generation: number): Promise<void> {
    const { config, room, log } = this.#options
    this.#within(generation, 'late', SERVING_TIMEOUT_MS)
    let cache: string | null = null
    try {
      const root = dirname(dirname(realpathSync(this.#program)))
      const directory = compileCacheDirectory(config.adminSocket, room, root)
      if (await warmCompileCache(directory, room, log, root)) cache = directory
    } catch (err) {
      log.warn({ err }, 'no compile cache of the next program')
    }
    const state = this.#standing.generations.get(generation)
    if (this.role !== 'leading' || state === undefined) return // given up meanwhile
    this.#compileCache = cache
    this.#launch(generation)
    if (state === 'serving') this.#lead(generation) // the one before has died meanwhile
  }

  #launch(generation: number): void {
    const { args, log, handler } = this.#options
    const process = DataProcess.start(
      this.#program,
      args,
      this.#compileCache,
      log,
      this.#handlerOf(generation),
    )
    this.#keep(generation, process)
    const pods = [...handler.pods()]
    for (const sockets of pods) process.addPod(sockets)
    process.send({ type: 'snapshot-sent' })
    log.info({ generation, pid: process.pid, pods: pods.length }, 'data process started')
  }

  #keep(generation: number, process: DataProcess): void {
    const startedMs = performance.now()
    const given = new Set([...this.#options.handler.pods()].map(({ pod }) => pod.uid))
    this.#running.set(generation, { process, startedMs, given, served: new Set(), closedPorts: new Map() })
  }

  #lead(generation: number): void {
    const { handler } = this.#options
    this.#timers.get(generation)?.cancel()
    this.#send(generation, { type: 'lead', isBeside: handler.isBeside() })
    const { served = [], closedPorts = [] } = this.#running.get(generation) ?? {}
    for (const [uid, ports] of closedPorts) handler.onClosedPorts(uid, ports)
    for (const uid of served) handler.onServed(uid)
  }

  #restart(): void {
    setTimeout(() => this.need(), this.#backoff.next())
  }

  #within(generation: number, type: 'retired' | 'late', timeoutMs: number): void {
    this.#timers.get(generation)?.cancel()
    this.#timers.set(
      generation,
      systemClock.startTimer(timeoutMs, () => this.#on({ type, generation })),
    )
  }

  #send(generation: number, message: SupervisorMessage): void {
    this.#running.get(generation)?.process.send(message)
  }

  #facts(generation: number): { readonly generation: number; readonly pid: number | undefined } {
    return { generation, pid: this.#running.get(generation)?.process.pid }
  }

  /** The one that serves has them among its metrics. */
  #tellCounts(): void {
    const [lost, failed] = [this.#lostCount, this.#failedCount]
    this.tell({ type: 'generations', draining: drainingGenerations(this.#standing).length, lost, failed })
  }

  #handlerOf(generation: number): DataProcessHandler {
    return {
      onMessage: (message) => this.#onMessage(generation, message),
      onExit: (description, isClean) => this.#onExit(generation, description, isClean),
    }
  }

  #onExit(generation: number, description: string, isClean: boolean): void {
    const gone = this.#running.get(generation)
    const state = this.#standing.generations.get(generation)
    if (gone !== undefined && performance.now() - gone.startedMs > HEALTHY_AFTER_MS) this.#backoff.reset()
    const facts = { ...this.#facts(generation), state, description }
    const isExpected = this.role === 'stopping' || state === undefined || (state === 'draining' && isClean)
    this.#options.log[isExpected ? 'info' : 'error'](facts, 'data process ended')
    this.#timers.get(generation)?.cancel()
    this.#timers.delete(generation)
    this.#on({ type: 'exited', generation, isClean })
    this.#running.delete(generation)
    for (const uid of [...this.#leaving.keys()]) this.#onLeft(uid, generation)
  }

  #onMessage(generation: number, message: DataMessage): void {
    const { log, handler } = this.#options
    const known = this.#running.get(generation)
    const isServing = known !== undefined && known === this.#serving
    switch (message.type) {
      case 'ready':
        log.info(this.#facts(generation), 'data process ready')
        this.#on({ type: 'ready', generation })
        break
      case 'closed-ports':
        known?.closedPorts.set(message.uid, message.ports)
        if (isServing) handler.onClosedPorts(message.uid, message.ports)
        break
      case 'retired':
        this.#timers.get(generation)?.cancel()
        this.#on({ type: 'retired', generation })
        break
      case 'upgrade':
        known?.process.send({ type: 'upgrade-answer', refusal: this.upgrade() })
        break
      case 'pod-left':
        this.#onLeft(message.uid, generation)
        break
      case 'pod-failed':
        log.warn({ generation, ...message }, 'pod cannot be served')
        break
      case 'pod-ready':
        log.debug({ generation, uid: message.uid }, 'pod served')
        known?.served.add(message.uid)
        if (isServing) handler.onServed(message.uid)
    }
  }

  #onLeft(uid: string, generation: number | null): void {
    const waiting = this.#leaving.get(uid)
    if (waiting === undefined) return
    if (generation !== null) waiting.delete(generation)
    if (waiting.size > 0) return
    this.#leaving.delete(uid)
    this.#options.handler.onPodLeft(uid)
  }
}

function give({ process, given }: Generation, sockets: PodDescriptors): void {
  given.add(sockets.pod.uid)
  process.addPod(sockets)
}
