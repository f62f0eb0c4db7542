// SPDX-License-Identifier: Apache-2.0
// The agent of a node: watches its pods and all namespaces at the apiserver, enrols running pods by their labels without a
// restart, and says so in the cluster. What it has enrolled stays while the apiserver is away.
import { closeSync, fstatSync } from 'node:fs'
import { REASONS, type ReasonCode } from '../../../mesh/errors/reasons.ts'
import type { ReasonCounts } from '../../../mesh/generations/node-health.ts'
import type { PodInfo } from '../../../mesh/generations/pods.ts'
import type { ClockTimer } from '../../../mesh/runtime/clock.ts'
import type { PodList, SavedPods } from '../../snapshot/saved-pods.ts'
import { type AdmittingPods, admitPod, codeOfFailure } from './admit-pod.ts'
import type { CniRequest, PodName } from './cni/cni-request.ts'
import type { Admission } from './cni/cni-spool.ts'
import { type AgentPod, decidePod, type PodGoal, toldRedirection, uidOnNode } from './decide-enrolment.ts'
import type { HostRules } from './host-rules.ts'
import { removeLeftRules } from './left-rules.ts'
import { NamespaceSeeker, type SeekerOptions } from './namespace-seeker.ts'
import { News } from './news.ts'
import { NodeLists, type NodeListsOptions } from './node-lists.ts'
import type { PodEvents } from './pod-events.ts'
import { readRedirectAnnotations } from './pod-redirect.ts'
import type { PodRoster } from './pod-roster.ts'
import {
  isSought,
  newStanding,
  nextStanding,
  type PodEffect,
  type PodEvent,
  type PodStanding,
  type PodState,
  redirectionOf,
} from './pod-state.ts'
import { RedirectionTeller } from './redirection-teller.ts'
import { UnfoundPods } from './unfound-pods.ts'

/** What is not done by an event is looked at this often. */
const TICK_MS = 500
/** Namespaces of enrolled pods are compared this often: a node may give a pod another one. */
const REFRESH_TICKS = 20
/** At the end, all pods are told as out within this. */
const STOP_TIMEOUT_MS = 3_000

interface Entry {
  pod: AgentPod
  standing: PodStanding
  /** Why the roster has not enrolled it, as the code of a reason and a detail; null when it has. */
  failure: string | null
}

/** What the agent needs. */
export interface PodWatchOptions extends SeekerOptions, NodeListsOptions {
  readonly roster: PodRoster
  /** What stands on the node about enrolled pods; null when the rules of pods are somebody else's. */
  readonly host: Pick<HostRules, 'set' | 'remove' | 'sync' | 'close'> | null
  /** Says at pods what has become of them. */
  readonly events: Pick<PodEvents, 'say'>
  /** What an earlier run was told last; kept up to date. Null: nothing is kept. */
  readonly saved: Pick<SavedPods, 'load' | 'changed' | 'close'> | null
  /** notEnrolled() may be another one. */
  readonly onChange: () => void
}

/** start() … stop(). */
export class PodWatch {
  readonly #options: PodWatchOptions
  readonly #teller: RedirectionTeller
  readonly #seeker: NamespaceSeeker
  readonly #stopped = new AbortController()
  readonly #entries = new Map<string, Entry>()
  readonly #lists: NodeLists
  /** Pods that have ended and are told as enrolled. */
  readonly #endedPods = new Map<string, PodInfo>()
  /** Pods that were asked for before the watch has told them: the next list may be older than they are. */
  readonly #asked = new Set<string>()
  readonly #news = new News()
  readonly #unfound = new UnfoundPods()
  readonly #admitting: AdmittingPods
  /** What is known is from an earlier run, until all has been listed. */
  #isRestored = false
  #isCurrent = false
  #tickTimer: ClockTimer | null = null
  #ticks = 0
  #work: Promise<unknown> = Promise.resolve()

  constructor(options: PodWatchOptions) {
    this.#options = options
    this.#teller = new RedirectionTeller(options)
    this.#seeker = new NamespaceSeeker(options, {
      sought: () => [...this.#sought().keys()],
      isMissing: () => [...this.#entries.values()].some(({ standing }) => standing.state === 'wanted'),
      onFound: async (found, fd) => await this.#found(this.#sought().get(found) ?? '', fd),
    })
    this.#lists = new NodeLists(options, {
      onPods: (pods) => this.#listed(pods),
      onPod: (pod) => {
        this.#asked.delete(pod.info.uid)
        this.#put(pod)
      },
      onPodGone: (uid) => {
        this.#forget(uid)
        this.#endedPods.delete(uid)
      },
      onNamespace: (name) => {
        this.#lookAtAll(name)
        this.#news.tell()
      },
    })
    this.#admitting = {
      ...{ client: options.client, nodeName: options.nodeName, procPath: options.procPath },
      news: this.#news,
      isReady: () => this.#lists.isComplete,
      hasNamespace: (name) => this.#lists.labelsOf(name) !== undefined,
      find: (name) => this.#named(name),
      learn: (pod) => {
        this.#asked.add(pod.info.uid)
        this.#put(pod)
      },
      found: async (uid, fd) => await this.#found(uid, fd),
    }
  }

  /** Enrols what an earlier run has left, then follows the apiserver. */
  async start(): Promise<void> {
    const found = await this.#options.saved?.load()
    if (found !== null && found !== undefined) this.#restore(found)
    this.#work = this.#lists.run(this.#stopped.signal)
    this.#tick()
  }

  #restore({ pods, namespaces }: PodList): void {
    this.#isRestored = true
    this.#lists.restore(namespaces)
    for (const pod of pods) this.#put(pod)
    this.#options.log.info({ pods: pods.length }, 'pods of an earlier run, until the apiserver answers')
  }

  /** Tells all pods as out, so that nobody tunnels to them when they are. */
  async stop(): Promise<void> {
    await this.abandon()
    const { promise: isLate, resolve } = Promise.withResolvers<void>()
    const timer = this.#options.clock.startTimer(STOP_TIMEOUT_MS, resolve)
    const told = [...this.#entries.values()].filter(({ standing }) => standing.told !== null)
    await Promise.race([isLate, Promise.all(told.map(({ pod }) => this.#teller.tell(pod.info, null)))])
    timer.cancel()
  }

  /** Says nothing any more; what was said stays. */
  async abandon(): Promise<void> {
    this.#stopped.abort()
    this.#tickTimer?.cancel()
    this.#seeker.stop()
    await this.#work
    await this.#options.saved?.close()
  }

  /** When no pod is enrolled any more: takes away what is left on the node. */
  close(): void {
    this.#options.host?.close()
  }

  /** What the roster tells: rules and listeners of the pod stand. */
  onEnrolled(uid: string): void {
    this.#happen(this.#entries.get(uid), { type: 'enrolled' })
  }

  /** A data process serves the pod. */
  onServed(uid: string): void {
    this.#happen(this.#entries.get(uid), { type: 'served' })
  }

  /** No data process serves anybody. */
  onUnserved(): void {
    for (const entry of this.#entries.values()) this.#happen(entry, { type: 'unserved' })
  }

  /** Somebody had damaged its redirection; it is whole again. */
  onMended(uid: string, detail: string): void {
    const entry = this.#entries.get(uid)
    if (entry !== undefined)
      this.#options.events.say(entry.pod.info, 'RedirectionMended', 'NOT_ENROLLED', detail)
  }

  /** It belongs to the mesh, and had started without it. */
  onLate({ pod }: CniRequest): void {
    const entry = this.#named(pod)
    if (entry !== undefined) this.#options.events.say(entry.pod.info, 'EnrolmentLate', 'ENROLMENT_LATE', '')
  }

  /** Enrols a pod that is being made, if it belongs to the mesh. Never throws. */
  async admit(request: CniRequest, signal: AbortSignal): Promise<Admission> {
    return await admitPod(this.#admitting, request, signal)
  }

  #named({ namespace, name, uid }: PodName): Entry | undefined {
    if (uid !== null) return this.#entries.get(uid)
    return [...this.#entries.values()].find(
      ({ pod: { info } }) => info.name === name && info.namespace === namespace,
    )
  }

  /** States by uid, for people and tests. */
  states(): ReadonlyMap<string, PodState> {
    return new Map([...this.#entries].map(([uid, { standing }]) => [uid, standing.state]))
  }

  /** Pods that belong to the mesh and could not be enrolled, by reason. */
  notEnrolled(): ReasonCounts {
    const failed = [...this.#entries.values()].filter(({ standing }) => standing.state === 'failed')
    const counts: Partial<Record<ReasonCode, number>> = {}
    for (const code of [...this.#unfound.reasons, ...failed.map(({ failure }) => codeOfFailure(failure))])
      counts[code] = (counts[code] ?? 0) + 1
    return counts
  }

  #listed(pods: readonly AgentPod[]): void {
    this.#endedPods.clear()
    const present = new Set([...pods.map(({ info }) => info.uid), ...this.#asked])
    this.#asked.clear()
    for (const uid of [...this.#entries.keys()]) if (!present.has(uid)) this.#forget(uid)
    // Those too that a supervisor before this one has enrolled.
    this.#options.roster.retain(present)
    for (const pod of pods) this.#put(pod)
    this.#news.tell()
    this.#save()
  }

  #save(): void {
    if (this.#lists.isComplete) this.#options.saved?.changed(() => this.#listToSave())
  }

  #listToSave(): PodList {
    const pods = [...this.#entries.values()].map(({ pod }) => pod)
    const names = new Set(pods.map(({ info }) => info.namespace))
    const namespaces = Object.fromEntries(
      [...names].flatMap((name) => {
        const labels = this.#lists.labelsOf(name)
        return labels === undefined ? [] : [[name, labels] as const]
      }),
    )
    return { pods, namespaces }
  }

  #put(pod: AgentPod): void {
    const { uid } = pod.info
    const standing = newStanding(this.#options.clock.passedMs)
    const entry: Entry = this.#entries.get(uid) ?? { pod, standing, failure: null }
    entry.pod = pod
    this.#entries.set(uid, entry)
    if (entry.standing.inode !== 0) this.#options.host?.set(pod)
    this.#options.roster.redirect(uid, readRedirectAnnotations(pod.annotations))
    const goal = this.#goalOf(entry)
    if (goal === 'hopeless') this.#ended(pod)
    else this.#happen(entry, { type: 'shown', told: toldRedirection(pod), goal })
    this.#save()
  }

  #lookAtAll(namespace?: string): void {
    for (const entry of [...this.#entries.values()]) {
      if (namespace !== undefined && entry.pod.info.namespace !== namespace) continue
      const goal = this.#goalOf(entry)
      if (goal === 'hopeless') this.#ended(entry.pod)
      else if (goal !== null) this.#happen(entry, { type: 'decided', goal })
    }
    this.#save()
  }

  /** What the pod should be; null before all is known that decides it. */
  #goalOf({ pod }: Entry): PodGoal | null {
    if (!this.#lists.isComplete) {
      // What was known may let a pod in; only what is known may take one out.
      if (!this.#isRestored) return null
      return decidePod(pod, this.#lists.labelsOf(pod.info.namespace)).goal === 'in' ? 'in' : null
    }
    if (!this.#isCurrent) this.#options.roster.setCurrent(true)
    this.#isCurrent = true
    return decidePod(pod, this.#lists.labelsOf(pod.info.namespace)).goal
  }

  /** Something has happened to a pod; true when its namespace, which was found, is to be handed over. */
  #happen(entry: Entry | undefined, event: PodEvent): boolean {
    if (entry === undefined) return false
    const before = entry.standing.state
    const { standing, effect } = nextStanding(entry.standing, event, this.#options.clock.passedMs)
    entry.standing = standing
    const { uid, name, namespace } = entry.pod.info
    if (before !== standing.state) {
      this.#options.log.debug({ uid, pod: name, namespace, from: before, to: standing.state }, 'enrolment')
      if (standing.state !== 'wanted') this.#unfound.forget(uid)
      this.#options.onChange()
    }
    this.#carryOut(entry.pod, effect)
    this.#tell(entry)
    return effect === 'enrol'
  }

  /** The pods whose namespace is of interest, by the uid that the node has for them. What two say they are is neither. */
  #sought(): ReadonlyMap<string, string> {
    const sought = new Map<string, string>()
    const claimed = new Set<string>()
    for (const [uid, { pod, standing }] of this.#entries) {
      const found = uidOnNode(pod)
      if (claimed.has(found)) sought.delete(found)
      else if (isSought(standing)) sought.set(found, uid)
      claimed.add(found)
    }
    return sought
  }

  #carryOut(pod: AgentPod, effect: PodEffect): void {
    const { uid } = pod.info
    const { roster, host, log } = this.#options
    if (effect === 'seek') this.#seeker.soon()
    if (effect !== 'release' && effect !== 'restore') return
    if (effect === 'release') roster.release(uid)
    else {
      roster.remove(uid) // a data process that was taken over may serve it
      const sought = uidOnNode(pod)
      void this.#seeker.find([sought]).then((found) => removeLeftRules(uid, found.get(sought), log))
    }
    host?.remove(uid)
  }

  /** The object of a pod that has ended stays, perhaps for long: it is not to say what is not so any more. */
  #ended(pod: AgentPod): void {
    this.#forget(pod.info.uid)
    if (toldRedirection(pod) === null) this.#endedPods.delete(pod.info.uid)
    else this.#endedPods.set(pod.info.uid, pod.info)
  }

  #tellEnded(): void {
    for (const info of this.#endedPods.values())
      if (this.#teller.canTell(info)) void this.#teller.tell(info, null)
  }

  /** A pod that is gone, or has ended. */
  #forget(uid: string): void {
    this.#entries.delete(uid)
    this.#unfound.forget(uid)
    this.#asked.delete(uid)
    this.#options.roster.remove(uid)
    this.#options.host?.remove(uid)
    this.#save()
  }

  #tick(): void {
    if (this.#stopped.signal.aborted) return
    const { clock } = this.#options
    for (const entry of [...this.#entries.values()]) this.#happen(entry, { type: 'passed' })
    this.#tellEnded()
    this.#tellUnfound()
    if (++this.#ticks % REFRESH_TICKS === 0) {
      this.#seeker.soon()
      // What was written by a list of an earlier run is mended too: an apiserver may be away for long.
      if (this.#isCurrent || this.#hasHostRules()) this.#options.host?.sync()
    }
    this.#tickTimer = clock.startTimer(TICK_MS, () => this.#tick())
  }

  #tellUnfound(): void {
    const { clock, log, events, onChange } = this.#options
    for (const { pod, standing } of this.#entries.values()) {
      const isDenied = this.#seeker.denied.has(uidOnNode(pod))
      const reason = this.#unfound.onLook(pod, standing.state, isDenied, clock.passedMs)
      if (reason === null) continue
      const { code, detail } = reason
      const { uid, name, namespace } = pod.info
      const facts = { uid, pod: name, namespace, reason: code, detail, fix: REASONS[code].fix }
      log.error(facts, 'a pod of the mesh runs and is not found: it is not enrolled')
      events.say(pod.info, 'EnrolmentFailed', code, detail)
      onChange()
    }
  }

  #hasHostRules(): boolean {
    return [...this.#entries.values()].some(({ standing }) => standing.inode !== 0)
  }

  /** Says what is, if it is not said. */
  #tell(entry: Entry): void {
    const { pod, standing } = entry
    const redirection = redirectionOf(standing, this.#options.clock.passedMs)
    if (redirection === undefined || redirection === standing.told) return
    // Before all is known, what was said may be right.
    if (!this.#lists.isComplete || this.#stopped.signal.aborted) return
    if (!this.#teller.canTell(pod.info)) return
    void this.#teller.tell(pod.info, redirection).then((isTold) => {
      if (!isTold) return
      // Meanwhile it may have become something else; and others wait for their turn.
      this.#happen(entry, { type: 'told', redirection })
      for (const each of this.#entries.values()) this.#tell(each)
    })
  }

  async #found(uid: string, fd: number): Promise<void> {
    const entry = this.#entries.get(uid)
    const isNews = this.#happen(entry, { type: 'found', inode: fstatSync(fd).ino })
    if (entry === undefined || !isNews) {
      closeSync(fd)
      return
    }
    // First: from its rules on, a probe that is not known as one would be taken for plain traffic.
    this.#options.host?.set(entry.pod)
    const failure = await this.#options.roster.add(
      entry.pod.info,
      fd,
      readRedirectAnnotations(entry.pod.annotations),
    )
    entry.failure = failure
    this.#happen(entry, { type: 'answered', isEnrolled: failure === null })
    this.#options.onChange()
    if (failure === null) return
    const code = codeOfFailure(failure)
    this.#options.events.say(entry.pod.info, 'EnrolmentFailed', code, failure.slice(code.length + 2))
  }
}
