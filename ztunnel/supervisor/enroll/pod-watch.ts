// SPDX-License-Identifier: Apache-2.0
// The agent of a node: watches its pods and all namespaces at the apiserver, enrols running pods by their labels without a
// restart, and says so in the cluster. What it has enrolled stays while the apiserver is away.
import { closeSync, fstatSync } from 'node:fs'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import type { KubernetesClient } from '../../../mesh/kubernetes/client.ts'
import {
  ListWatch,
  type ListWatchHandler,
  type ListWatchOptions,
  WATCH_TIMING,
  type WatchTiming,
} from '../../../mesh/kubernetes/list-watch.ts'
import { isMap, mapOf, type RawMap, textOf } from '../../../mesh/kubernetes/raw-map.ts'
import { NetworkNamespace } from '../../../mesh/reactor/netns.ts'
import { Backoff } from '../../../mesh/runtime/backoff.ts'
import type { Clock, ClockTimer } from '../../../mesh/runtime/clock.ts'
import type { Log } from '../../../mesh/runtime/log.ts'
import { type AgentPod, decidePod, readAgentPod, toldRedirection } from './decide-enrolment.ts'
import { findPodNamespaces } from './pod-namespaces.ts'
import type { PodRoster } from './pod-roster.ts'
import type { ProbeRules } from './probe-rules.ts'
import { readRedirectRules, removeRedirectRules } from './redirect-rules.ts'
import { type Redirection, RedirectionTeller } from './redirection-teller.ts'

/** What is not done by an event is looked at this often. */
const TICK_MS = 500
/** Namespaces of enrolled pods are compared this often: a node may give a pod another one. */
const REFRESH_TICKS = 20
/** First wait before a pod without a process is sought again. */
const SEEK_FIRST_MS = 50
/** A pod that belongs to the mesh and has no process yet is sought at least this often. */
const SEEK_MAX_MS = 2_000
/** A pod that nobody serves for this long is told as such: a data process is replaced within a second. */
const UNSERVED_MS = 5_000
/** Others get so long to hear that a pod leaves, before it does. */
const LEAVE_MS = 1_000
/** At the end, all pods are told as out within this. */
const STOP_TIMEOUT_MS = 3_000

/**
 *   out ─► wanted ─► enrolling ─► enrolled ─► leaving ─► out
 *    ▲       │           │  ▲                   │
 *    └───────┘           ▼  │    wanted again:  └─► enrolled
 *                       failed
 *
 * A pod that is deleted, or has ended, is forgotten at once from wherever it is.
 */
export type PodState =
  /** Not in the mesh, and need not be. */
  | 'out'
  /** Belongs to the mesh; its network namespace is sought. */
  | 'wanted'
  /** Its namespace is handed over. */
  | 'enrolling'
  /** It could not be enrolled; the roster tries again. */
  | 'failed'
  /** Its rules and listeners stand. */
  | 'enrolled'
  /** Belongs to the mesh no more; goes out when others have heard it. */
  | 'leaving'

interface Entry {
  pod: AgentPod
  state: PodState
  /** What the cluster has been told. */
  told: string | null
  /** A data process serves it. */
  isServed: boolean
  /** Since when it is not both enrolled and served. */
  unservedMs: number
  /** When it goes out; null while others are not told. */
  leaveAtMs: number | null
  /** The namespace that was handed over; 0 for none. */
  inode: number
}

/** What the agent needs. */
export interface PodWatchOptions {
  readonly client: KubernetesClient
  readonly nodeName: string
  readonly roster: PodRoster
  /** The kubelet's probes of enrolled pods; null when the rules of pods are somebody else's. */
  readonly probes: Pick<ProbeRules, 'set' | 'remove' | 'sync' | 'close'> | null
  /** Where the processes of the node are seen. */
  readonly procPath: string
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly log: Log
  readonly timing?: WatchTiming
}

/** start() … stop(). */
export class PodWatch {
  readonly #options: PodWatchOptions
  readonly #teller: RedirectionTeller
  readonly #seekBackoff: Backoff
  readonly #stopped = new AbortController()
  readonly #entries = new Map<string, Entry>()
  readonly #namespaces = new Map<string, RawMap>()
  #hasPods = false
  #hasNamespaces = false
  #isCurrent = false
  #isSeeking = false
  #seekTimer: ClockTimer | null = null
  #tickTimer: ClockTimer | null = null
  #ticks = 0
  #work: Promise<unknown> = Promise.resolve()

  constructor(options: PodWatchOptions) {
    this.#options = options
    const { client, clock, random, log } = options
    this.#teller = new RedirectionTeller({ client, clock, random, log })
    this.#seekBackoff = new Backoff({ initialMs: SEEK_FIRST_MS, maxMs: SEEK_MAX_MS, random })
  }

  start(): void {
    const { client, clock, random, nodeName, timing = WATCH_TIMING } = this.#options
    const common: ListWatchOptions = { client, clock, random, timing }
    const pods = new ListWatch(
      { ...common, fieldSelector: `spec.nodeName=${nodeName}` },
      {
        ...this.#collection('/api/v1/pods', readAgentPod),
        onList: (all) => this.#listed(all.filter((pod) => pod !== null)),
        onPut: (pod) => pod !== null && this.#put(pod),
        onRemove: (pod) => pod !== null && this.#forget(pod.info.uid),
      },
    )
    const namespaces = new ListWatch(common, {
      ...this.#collection('/api/v1/namespaces', readNamespace),
      onList: (all) => {
        this.#namespaces.clear()
        for (const { name, labels } of all) this.#namespaces.set(name, labels)
        this.#hasNamespaces = true
        this.#lookAtAll()
      },
      onPut: ({ name, labels }) => {
        this.#namespaces.set(name, labels)
        this.#lookAtAll(name)
      },
      onRemove: ({ name }) => {
        this.#namespaces.delete(name)
        this.#lookAtAll(name)
      },
    })
    this.#work = Promise.all([pods, namespaces].map((each) => each.run(this.#stopped.signal)))
    this.#tick()
  }

  /** Tells all pods as out, so that nobody tunnels to them when they are. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    this.#tickTimer?.cancel()
    this.#seekTimer?.cancel()
    await this.#work
    const { promise: isLate, resolve } = Promise.withResolvers<void>()
    const timer = this.#options.clock.startTimer(STOP_TIMEOUT_MS, resolve)
    const told = [...this.#entries.values()].filter(({ told }) => told !== null)
    await Promise.race([isLate, Promise.all(told.map(({ pod }) => this.#teller.tell(pod.info, null)))])
    timer.cancel()
  }

  /** When no pod is enrolled any more: takes away what is left on the node. */
  close(): void {
    this.#options.probes?.close()
  }

  /** What the roster tells: rules and listeners of the pod stand. */
  onEnrolled(uid: string): void {
    const entry = this.#entries.get(uid)
    if (entry === undefined) return
    if (entry.state === 'enrolling' || entry.state === 'failed') this.#enter(entry, 'enrolled')
  }

  /** A data process serves the pod. */
  onServed(uid: string): void {
    const entry = this.#entries.get(uid)
    if (entry === undefined) return
    entry.isServed = true
    this.#tell(entry)
  }

  /** No data process serves anybody. */
  onUnserved(): void {
    for (const entry of this.#entries.values()) {
      if (entry.isServed) entry.unservedMs = this.#options.clock.nowMs
      entry.isServed = false
    }
  }

  /** States by uid, for people and tests. */
  states(): ReadonlyMap<string, PodState> {
    return new Map([...this.#entries].map(([uid, { state }]) => [uid, state]))
  }

  #collection<T>(path: string, read: (object: unknown) => T) {
    const { log } = this.#options
    let failure: string | null = null
    return {
      path: () => path,
      read,
      onReachable: (detail) => {
        if (detail === failure) return
        failure = detail
        if (detail === null) log.info({ path }, 'the apiserver answers')
        else log.warn({ path, detail }, 'the apiserver does not answer; what is enrolled stays')
      },
      onMissing: (nextDelayMs) => nextDelayMs(),
    } satisfies Partial<ListWatchHandler<T>>
  }

  #listed(pods: readonly AgentPod[]): void {
    const uids = new Set(pods.map(({ info }) => info.uid))
    for (const uid of [...this.#entries.keys()]) if (!uids.has(uid)) this.#forget(uid)
    this.#hasPods = true
    for (const pod of pods) this.#put(pod)
  }

  #put(pod: AgentPod): void {
    const before = this.#entries.get(pod.info.uid)
    const entry: Entry = before ?? {
      ...{ pod, state: 'out', told: null, isServed: false, leaveAtMs: null, inode: 0 },
      unservedMs: this.#options.clock.nowMs,
    }
    entry.pod = pod
    entry.told = toldRedirection(pod)
    this.#entries.set(pod.info.uid, entry)
    if (entry.inode !== 0) this.#options.probes?.set(pod.info.uid, pod.ips)
    this.#look(entry)
    // Something has become of it: perhaps its first process.
    if (entry.state === 'wanted') this.#seekSoon()
  }

  #lookAtAll(namespace?: string): void {
    for (const entry of [...this.#entries.values()])
      if (namespace === undefined || entry.pod.info.namespace === namespace) this.#look(entry)
  }

  /** Decides what the pod should be, and begins it. */
  #look(entry: Entry): void {
    if (!this.#hasPods || !this.#hasNamespaces) return
    if (!this.#isCurrent) this.#options.roster.setCurrent(true)
    this.#isCurrent = true
    const { goal } = decidePod(entry.pod, this.#namespaces.get(entry.pod.info.namespace))
    const { state } = entry
    if (goal === 'hopeless') this.#forget(entry.pod.info.uid)
    else if (goal === 'in') {
      if (state === 'out') this.#enter(entry, 'wanted')
      else if (state === 'leaving') this.#enter(entry, entry.inode === 0 ? 'wanted' : 'enrolled')
    } else if (state === 'wanted' && entry.told === null) this.#enter(entry, 'out')
    else if (state !== 'leaving' && (state !== 'out' || entry.told !== null)) this.#enter(entry, 'leaving')
    this.#tell(entry)
  }

  #enter(entry: Entry, state: PodState): void {
    const { uid, name, namespace } = entry.pod.info
    this.#options.log.debug({ uid, pod: name, namespace, from: entry.state, to: state }, 'enrolment')
    entry.state = state
    entry.leaveAtMs = null
    if (state === 'wanted') this.#seekSoon()
    this.#tell(entry)
  }

  /** A pod that is gone, or has ended. */
  #forget(uid: string): void {
    this.#entries.delete(uid)
    this.#options.roster.remove(uid)
    this.#options.probes?.remove(uid)
  }

  #tick(): void {
    if (this.#stopped.signal.aborted) return
    const { clock } = this.#options
    for (const entry of [...this.#entries.values()]) {
      this.#tell(entry)
      if (entry.leaveAtMs !== null && clock.nowMs >= entry.leaveAtMs) this.#leave(entry)
    }
    if (++this.#ticks % REFRESH_TICKS === 0) {
      this.#seekSoon()
      if (this.#isCurrent) this.#options.probes?.sync()
    }
    this.#tickTimer = clock.startTimer(TICK_MS, () => this.#tick())
  }

  /** Says what is, if it is not said. */
  #tell(entry: Entry): void {
    const redirection = this.#redirectionOf(entry)
    const { pod, state } = entry
    if (state === 'leaving' && entry.told === null) entry.leaveAtMs ??= this.#options.clock.nowMs + LEAVE_MS
    if (redirection === undefined || redirection === entry.told || this.#stopped.signal.aborted) return
    if (!this.#teller.canTell(pod.info)) return
    void this.#teller.tell(pod.info, redirection).then((isTold) => {
      if (!isTold) return
      entry.told = redirection
      // Meanwhile it may have become something else; and others wait for their turn.
      for (const each of this.#entries.values()) this.#tell(each)
    })
  }

  /** What is to be said; undefined: what was said before may stay. */
  #redirectionOf({ state, isServed, unservedMs }: Entry): Redirection | undefined {
    if (state === 'out' || state === 'leaving') return null
    if (state === 'enrolled' && isServed) return 'enabled'
    if (this.#options.clock.nowMs - unservedMs < UNSERVED_MS) return undefined
    return state === 'enrolled' ? 'pending' : null
  }

  #leave(entry: Entry): void {
    const { uid } = entry.pod.info
    if (entry.inode !== 0) this.#options.roster.remove(uid)
    else void this.#restore(uid)
    this.#options.probes?.remove(uid)
    entry.inode = 0
    entry.isServed = false
    this.#enter(entry, 'out')
  }

  /** Takes away what a supervisor before us has left in the namespace of a pod. */
  async #restore(uid: string): Promise<void> {
    const { log } = this.#options
    const fd = (await this.#find([uid])).get(uid)
    if (fd === undefined) return
    try {
      const namespace = NetworkNamespace.fromDescriptor(fd)
      if (readRedirectRules(namespace).tables.length === 0) return
      removeRedirectRules(namespace)
      log.info({ uid }, 'rules that were left behind are removed')
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      log.warn({ uid, reason: error.code, detail: error.detail }, 'rules could not be removed')
    } finally {
      closeSync(fd)
    }
  }

  #seekSoon(): void {
    this.#seekBackoff.reset()
    this.#seekTimer?.cancel()
    this.#seekTimer = null
    if (!this.#isSeeking) void this.#seek()
  }

  /** Looks for the namespaces of all pods that need one, and again while one is missing. */
  async #seek(): Promise<void> {
    this.#isSeeking = true
    // What is told in one breath is sought in one look.
    await new Promise((resolve) => setImmediate(resolve))
    const isSought = ({ state }: Entry): boolean => !['out', 'leaving'].includes(state)
    const sought = [...this.#entries].filter(([, entry]) => isSought(entry)).map(([uid]) => uid)
    const found = await this.#find(sought)
    this.#isSeeking = false
    for (const [uid, fd] of found) await this.#handOver(uid, fd)
    if (this.#stopped.signal.aborted || this.#isSeeking) return
    if ([...this.#entries.values()].some(({ state }) => state === 'wanted'))
      this.#seekTimer ??= this.#options.clock.startTimer(this.#seekBackoff.next(), () => {
        this.#seekTimer = null
        if (!this.#isSeeking) void this.#seek()
      })
  }

  /** None where the processes of the node cannot be seen. */
  async #find(uids: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const { procPath, log } = this.#options
    try {
      return uids.length === 0 ? new Map() : await findPodNamespaces(new Set(uids), procPath)
    } catch (err) {
      log.warn({ err, procPath }, 'the processes of the node cannot be seen')
      return new Map()
    }
  }

  async #handOver(uid: string, fd: number): Promise<void> {
    const entry = this.#entries.get(uid)
    const { ino } = fstatSync(fd)
    const isWanted = entry !== undefined && !['out', 'leaving'].includes(entry.state) && entry.inode !== ino
    if (!isWanted || this.#stopped.signal.aborted) {
      closeSync(fd)
      return
    }
    entry.inode = ino
    entry.isServed = false
    entry.unservedMs = this.#options.clock.nowMs
    this.#enter(entry, 'enrolling')
    // First: from its rules on, a probe that is not known as one would be taken for plain traffic.
    this.#options.probes?.set(uid, entry.pod.ips)
    const failure = await this.#options.roster.add(entry.pod.info, fd)
    // By onEnrolled it may be further already.
    if (entry.state === 'enrolling') this.#enter(entry, failure === null ? 'enrolled' : 'failed')
  }
}

function readNamespace(object: unknown): { readonly name: string; readonly labels: RawMap } {
  const metadata = mapOf(isMap(object) ? object : {}, 'metadata')
  return { name: textOf(metadata, 'name'), labels: mapOf(metadata, 'labels') }
}
