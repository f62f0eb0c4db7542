// SPDX-License-Identifier: Apache-2.0
// The pods this node serves: what sources of enrolment want, made true. A pod that cannot be served now is tried again
// until nobody wants it any more.
import { closeSync, openSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { REASONS } from '../../../mesh/errors/reasons.ts'
import type { PodInfo } from '../../../mesh/generations/pods.ts'
import type { FoundPod } from '../../../mesh/generations/take-over.ts'
import { NetworkNamespace } from '../../../mesh/reactor/netns.ts'
import type { Clock, ClockTimer } from '../../../mesh/runtime/clock.ts'
import type { Log } from '../../../mesh/runtime/log.ts'
import type { ZtunnelConfig } from '../../config.ts'
import type { EnrolledPod } from '../enrolment-file.ts'
import { OWN_POD_UID, ownPod } from '../own-pod.ts'
import { PodSockets } from '../pod-sockets.ts'
import type { PodRedirect } from './pod-redirect.ts'
import type { PodRoster } from './pod-roster.ts'
import { TableWatch } from './table-watch.ts'

/** The namespace of a pod that was handed over as a descriptor. */
const DESCRIPTOR_PATH = '/proc/self/fd/'
/** A pod whose namespace was not there is looked at again after this. */
const RETRY_POD_MS = 1000

/** Who serves them. */
export interface PodListener {
  onAdded(sockets: PodSockets): void
  onRemoved(uid: string): void
  /** It leaves the mesh; who serves it says by onLeft() when nothing of it is open any more. */
  onLeaving(uid: string): void
  /** It was leaving, and does not. */
  onReturned(sockets: PodSockets): void
  /** It was named again and is what it was. */
  onKept(uid: string): void
  /** Somebody had damaged its redirection; it is whole again. */
  onMended(uid: string, detail: string): void
}

/** A pod that an agent has handed over, with its namespace. */
interface Handed {
  readonly pod: EnrolledPod
  readonly netns: number
}

export class EnrolledPods implements PodRoster {
  readonly #config: ZtunnelConfig
  /** The ztunnel's own, which no source names. */
  readonly #own: EnrolledPod | null
  readonly #clock: Clock
  readonly #log: Log
  readonly #listener: PodListener
  readonly #served = new Map<string, PodSockets>()
  readonly #tables: TableWatch
  readonly #handed = new Map<string, Handed>()
  readonly #leaving = new Map<string, { readonly sockets: PodSockets; readonly timer: ClockTimer }>()
  #listed: readonly EnrolledPod[] = []
  /** Why a wanted pod is not served. */
  readonly #failures = new Map<string, string>()
  #retry: ClockTimer | null = null
  #isClosed = false

  constructor(config: ZtunnelConfig, clock: Clock, log: Log, listener: PodListener) {
    this.#config = config
    this.#own = ownPod(config)
    this.#clock = clock
    this.#log = log
    this.#listener = listener
    this.#tables = new TableWatch(clock, log, (uid) => {
      const sockets = this.#served.get(uid)
      if (sockets !== undefined) this.#check(uid, sockets)
    })
  }

  /** All that are served now. */
  get served(): Iterable<PodSockets> {
    return this.#served.values()
  }

  isServed(uid: string): boolean {
    return this.#served.has(uid)
  }

  get count(): number {
    return this.#served.size
  }

  /** Pods that a data process serves already, before any source has said what it wants. */
  keep(pods: readonly FoundPod<EnrolledPod>[]): void {
    for (const found of pods) {
      const { uid, netns } = found.pod
      const isHanded = found.namespaceFd !== null && netns?.startsWith(DESCRIPTOR_PATH) === true
      const own = isHanded ? openSync(`${DESCRIPTOR_PATH}${found.namespaceFd}`, 'r') : null
      const pod = own === null ? found.pod : { ...found.pod, netns: `${DESCRIPTOR_PATH}${own}` }
      if (own !== null) this.#handed.set(uid, { pod, netns: own })
      else if (uid !== OWN_POD_UID) this.#listed = [...this.#listed, pod]
      this.#serve(uid, PodSockets.keep({ ...found, pod }, this.#config))
    }
  }

  /** Serves what needs no source to be known, beside what is kept. */
  begin(): void {
    this.#reconcile()
  }

  /** What the enrolment file says, instead of what it said before. */
  list(pods: readonly EnrolledPod[]): void {
    this.#listed = pods
    this.#reconcile()
  }

  async add(pod: PodInfo, netns: number, redirect: PodRedirect | null = null): Promise<string | null> {
    const before = this.#handed.get(pod.uid)
    if (before !== undefined && isSameNamespace(before.netns, netns) && isSamePod(before.pod, pod)) {
      closeSync(netns) // named again after the agent, or this supervisor's predecessor, was away
      this.redirect(pod.uid, redirect)
      if (this.#served.has(pod.uid)) this.#listener.onKept(pod.uid)
    } else {
      if (before !== undefined) closeSync(before.netns)
      const enrolled = { ...pod, netns: `${DESCRIPTOR_PATH}${netns}`, address: null }
      this.#handed.set(pod.uid, { pod: withRedirect(enrolled, redirect), netns })
    }
    this.#reconcile()
    return this.#failures.get(pod.uid) ?? null
  }

  redirect(uid: string, redirect: PodRedirect | null): void {
    const handed = this.#handed.get(uid)
    if (handed === undefined || isDeepStrictEqual(handed.pod.redirect ?? null, redirect)) return
    this.#handed.set(uid, { ...handed, pod: withRedirect(handed.pod, redirect) })
    this.#reconcile()
  }

  remove(uid: string): void {
    this.#drop(uid)
    this.#reconcile()
  }

  /** At once: what had it open is gone with it. */
  #drop(uid: string): void {
    const wasHanded = this.#handed.has(uid)
    this.#forget(uid)
    this.onLeft(uid)
    const sockets = wasHanded ? this.#served.get(uid) : undefined
    if (sockets !== undefined) this.#end(uid, sockets)
  }

  release(uid: string): void {
    this.#forget(uid)
    this.#letGo(uid)
  }

  #letGo(uid: string): void {
    const sockets = this.#served.get(uid)
    if (sockets === undefined) return
    this.#served.delete(uid)
    this.#tables.forget(uid)
    this.#endRedirection(uid, sockets)
    const timer = this.#clock.startTimer(this.#config.drainSeconds * 1000, () => this.onLeft(uid))
    this.#leaving.set(uid, { sockets, timer })
    this.#listener.onLeaving(uid)
  }

  /** Never throws: a namespace that vanished has no connections, of another failure the rest is undone all the same. */
  #endRedirection(uid: string, sockets: PodSockets): void {
    try {
      sockets.letGo()
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      const { code, detail } = error
      this.#log.warn({ uid, reason: code, detail }, 'the redirection of a pod that leaves could not be ended')
    }
  }

  /** Nothing of a pod that was released is open any more. */
  onLeft(uid: string): void {
    const leaving = this.#leaving.get(uid)
    if (leaving === undefined) return
    this.#leaving.delete(uid)
    leaving.timer.cancel()
    this.#end(uid, leaving.sockets)
  }

  retain(uids: ReadonlySet<string>): void {
    for (const uid of [...this.#handed.keys()]) if (!uids.has(uid)) this.#drop(uid)
    this.#reconcile()
  }

  setCurrent(isCurrent: boolean): void {
    this.#log.info({ isCurrent }, 'enrolment by the CNI agent')
  }

  /** Compares every pod with what was made of it, and mends what is not as it should be. Never throws. */
  async checkDrift(): Promise<void> {
    for (const [uid, sockets] of [...this.#served]) {
      // Others get their turn between two pods.
      await new Promise((resolve) => setImmediate(resolve))
      if (this.#isClosed || this.#served.get(uid) !== sockets) continue
      this.#check(uid, sockets)
    }
  }

  #check(uid: string, sockets: PodSockets): void {
    try {
      this.#mend(sockets)
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      this.#log.warn({ uid, reason: error.code, detail: error.detail }, 'the redirection cannot be checked')
    }
  }

  #serve(uid: string, sockets: PodSockets): void {
    this.#served.set(uid, sockets)
    if (sockets.namespace !== null && this.#config.redirect) this.#tables.watch(uid, sockets.namespace)
  }

  #mend(sockets: PodSockets): void {
    const drift = sockets.findDrift()
    if (drift === null) return
    const { uid, name, namespace } = sockets.pod
    const { fix } = REASONS.NOT_ENROLLED
    this.#log.error(
      { uid, pod: name, namespace, reason: 'NOT_ENROLLED', detail: drift.detail, fix },
      'the redirection of a pod was damaged',
    )
    if (drift.part === 'rules') sockets.mendRules()
    else {
      this.#end(uid, sockets)
      this.#reconcile()
    }
    if (this.#served.has(uid)) this.#listener.onMended(uid, drift.detail)
  }

  /** Un-enrols all. */
  close(): void {
    this.#isClosed = true
    this.#retry?.cancel()
    for (const uid of [...this.#leaving.keys()]) this.onLeft(uid)
    for (const [uid, sockets] of this.#served) this.#end(uid, sockets)
    for (const uid of [...this.#handed.keys()]) this.#forget(uid)
  }

  /** From now on new connections of all pods go their own way; what is open goes on until close(). */
  letGo(): void {
    this.#tables.close()
    for (const [uid, sockets] of this.#served) {
      this.#endRedirection(uid, sockets)
      this.#listener.onLeaving(uid)
    }
  }

  /** Lets go of all as they are: another supervisor keeps them. */
  abandon(): void {
    this.#retry?.cancel()
    this.#retry = null
    this.#listed = []
    this.#failures.clear()
    for (const uid of [...this.#handed.keys()]) this.#forget(uid)
    for (const uid of [...this.#leaving.keys()]) this.onLeft(uid)
    this.#tables.close()
    for (const sockets of this.#served.values()) sockets.abandon()
    this.#served.clear()
  }

  #forget(uid: string): void {
    const handed = this.#handed.get(uid)
    if (handed === undefined) return
    this.#handed.delete(uid)
    closeSync(handed.netns)
  }

  /** Makes the served pods equal to the wanted ones; what fails is tried again later. */
  #reconcile(): void {
    if (this.#isClosed) return
    this.#retry?.cancel()
    this.#retry = null
    const wanted = new Map(
      [
        ...(this.#own === null ? [] : [this.#own]),
        ...this.#listed,
        ...[...this.#handed.values()].map(({ pod }) => pod),
      ].map((pod) => [pod.uid, pod]),
    )
    for (const uid of this.#failures.keys()) if (!wanted.has(uid)) this.#failures.delete(uid)
    for (const [uid, sockets] of this.#served) {
      const pod = wanted.get(uid)
      if (pod === undefined) this.#letGo(uid)
      else if (this.#keep(sockets, pod)) wanted.delete(uid)
      else this.#end(uid, sockets)
    }
    for (const pod of wanted.values()) this.#begin(pod)
    if (this.#failures.size > 0) this.#retry = this.#clock.startTimer(RETRY_POD_MS, () => this.#reconcile())
  }

  /** True when what is served is what is wanted, or could be made so under its connections. */
  #keep(sockets: PodSockets, pod: EnrolledPod): boolean {
    if (isDeepStrictEqual(pod, sockets.pod)) return true
    try {
      return sockets.adopt(pod)
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      return false // opening it anew says what is wrong
    }
  }

  #begin(pod: EnrolledPod): void {
    const { uid, name, namespace } = pod
    if (this.#takeBack(pod)) return
    this.onLeft(uid)
    try {
      const sockets = PodSockets.open(pod, this.#config, this.#served.values())
      this.#serve(uid, sockets)
      this.#failures.delete(uid)
      this.#listener.onAdded(sockets)
      this.#log.info({ uid, pod: name, namespace }, 'pod enrolled')
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      const { code, detail } = error
      const failure = `${code}: ${detail}`
      const { fix } = REASONS[code]
      // Tried every second: said when it is news.
      if (this.#failures.get(uid) !== failure)
        this.#log.warn({ uid, pod: name, reason: code, detail, fix }, 'pod cannot be enrolled, trying again')
      this.#failures.set(uid, failure)
    }
  }

  /** True when it is back before all that it had open has ended, and could be redirected again under it. */
  #takeBack(pod: EnrolledPod): boolean {
    const leaving = this.#leaving.get(pod.uid)
    if (leaving === undefined) return false
    try {
      if (!leaving.sockets.takeBack(pod)) return false
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      return false // opening it anew says what is wrong
    }
    this.#leaving.delete(pod.uid)
    leaving.timer.cancel()
    this.#serve(pod.uid, leaving.sockets)
    this.#failures.delete(pod.uid)
    this.#listener.onReturned(leaving.sockets)
    this.#log.info({ uid: pod.uid, pod: pod.name, namespace: pod.namespace }, 'pod enrolled again')
    return true
  }

  #end(uid: string, sockets: PodSockets): void {
    this.#served.delete(uid)
    this.#tables.forget(uid)
    this.#listener.onRemoved(uid)
    try {
      sockets.close()
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      this.#log.warn({ uid, reason: error.code, detail: error.detail }, 'rules could not be removed')
    }
    this.#log.info({ uid }, 'pod un-enrolled')
  }
}

function isSameNamespace(left: number, right: number): boolean {
  return NetworkNamespace.fromDescriptor(left).isSame(NetworkNamespace.fromDescriptor(right))
}

function isSamePod(left: PodInfo, right: PodInfo): boolean {
  return (
    left.name === right.name &&
    left.namespace === right.namespace &&
    left.serviceAccount === right.serviceAccount
  )
}

function withRedirect({ redirect: _, ...pod }: EnrolledPod, redirect: PodRedirect | null): EnrolledPod {
  return redirect === null ? pod : { ...pod, redirect }
}
