// SPDX-License-Identifier: Apache-2.0
// The pods a data process serves, with its copies of their descriptors: what the supervisor sends of them, their certificates,
// what the workers are told of them and when.
import { closeSync } from 'node:fs'
import type { DataMessage, ListenerKind, PodInfo, SupervisorMessage } from '../mesh/generations/pods.ts'
import type { KeptPod } from '../mesh/generations/supervisor-link.ts'
import type { SecretManager } from '../mesh/identity/secret-manager.ts'
import { describeInbound, type InboundView, isSameInbound } from '../mesh/model/inbound.ts'
import type { ModelStore } from '../mesh/model/model-store.ts'
import { identityOf, type Workload } from '../mesh/model/workload.ts'
import type { Log } from '../mesh/runtime/log.ts'
import type { NodeSnapshot } from '../mesh/snapshot/node-snapshot.ts'
import type { PodAccounts } from './carry/pod-account.ts'
import type { GuardReports } from './guard-reports.ts'
import { PolicyNumbers } from './policy-numbers.ts'
import type { StreamSlots } from './stream-slots.ts'
import type { DownMessage, PodMessage } from './worker-messages.ts'
import { REPORT_DEADLINE_MS } from './worker-reports.ts'

/** A pod whose configuration or certificate is not there is served, and refused by name, after this. */
const PREPARE_DEADLINE_MS = 5000
/** The same while another process serves it: refusing what that one would take is a loss. */
const PREPARE_BESIDE_DEADLINE_MS = 15_000

/** What serving pods takes. */
export interface ServedPodsOptions {
  readonly workers: {
    readonly count: number
    readonly accounts: Pick<PodAccounts, 'open' | 'close'>
    readonly streamSlots: Pick<StreamSlots, 'prepare'>
    post(worker: number, message: DownMessage): void
    broadcast(message: DownMessage): void
  }
  readonly model: Pick<ModelStore, 'state'>
  readonly secrets: Pick<SecretManager, 'get' | 'forget'>
  readonly snapshot: Pick<NodeSnapshot, 'certificatesChanged'>
  readonly guard: Pick<GuardReports, 'describe' | 'forget' | 'told'>
  readonly log: Log
  /** The ztunnel's own pod, where the model does not have it. */
  readonly unlisted: (pod: PodInfo) => Workload
  /** Nobody else serves the pods. */
  readonly isAlone: () => boolean
  /** To the supervisor. */
  readonly send: (message: DataMessage) => void
}

/** One of them. Owns the descriptors. */
interface Pod {
  readonly info: PodInfo
  readonly number: number
  readonly namespaceFd: number | null
  listeners: ReadonlyMap<ListenerKind, number>
  /** Workers that have said they serve it. */
  readonly servedBy: Set<number>
  /** Workers that have nothing open of it any more, once it leaves. */
  readonly leftBy: Set<number>
  /** Workers that use its listening sockets no more, as another generation does. */
  readonly socketsLeftBy: Set<number>
  /** The workers have been told of it. */
  isAnnounced: boolean
  /** It leaves the mesh: what it has open may end. */
  isLeaving: boolean
  /** What they were told last. */
  inbound: InboundView | null
}

/** By uid: prepared → announced → removed. */
export class ServedPods {
  readonly #options: ServedPodsOptions
  readonly #pods = new Map<string, Pod>()
  /** `namespace/name` by number. */
  readonly #names = new Map<number, string>()
  readonly #policyNumbers: PolicyNumbers
  #nextNumber = 1

  constructor(options: ServedPodsOptions) {
    this.#options = options
    this.#policyNumbers = new PolicyNumbers((number, policy) =>
      options.workers.broadcast({ type: 'policies', policies: new Map([[number, policy]]) }),
    )
  }

  get infos(): readonly PodInfo[] {
    return [...this.#pods.values()].map(({ info }) => info)
  }

  /** Those that not all workers serve yet. */
  get unserved(): readonly PodInfo[] {
    const { count } = this.#options.workers
    return [...this.#pods.values()].filter((pod) => pod.servedBy.size < count).map(({ info }) => info)
  }

  /** For a next supervisor. */
  get kept(): readonly KeptPod[] {
    const { workers, guard } = this.#options
    return [...this.#pods.values()].map((pod) => ({
      ...pod,
      isServed: pod.servedBy.size >= workers.count,
      closedPorts: guard.told(pod.info.uid),
    }))
  }

  infoOf(uid: string): PodInfo | undefined {
    return this.#pods.get(uid)?.info
  }

  /** The descriptors stay this one's; undefined: no such pod. */
  socketsOf(uid: string): Pick<KeptPod, 'namespaceFd' | 'listeners'> | undefined {
    return this.#pods.get(uid)
  }

  /** Undefined: no such pod, or it is not configured. */
  workloadOf(uid: string): Workload | undefined {
    const pod = this.#pods.get(uid)
    return pod === undefined ? undefined : this.#workloadOf(pod)
  }

  /** `namespace/name` of the pod with that number in workers; undefined: it is gone. */
  nameOf(number: number): string | undefined {
    return this.#names.get(number)
  }

  /** The descriptors are this one's from now on. */
  add(message: Extract<SupervisorMessage, { type: 'pod-added' }>, fds: readonly number[]): void {
    this.remove(message.pod.uid)
    const rest = message.sharesHost ? fds : fds.slice(1)
    const listeners = new Map(message.listeners.map((kind, index) => [kind, rest[index] ?? -1]))
    const pod: Pod = {
      info: message.pod,
      number: this.#nextNumber++,
      namespaceFd: message.sharesHost ? null : (fds[0] ?? -1),
      listeners,
      ...{ servedBy: new Set(), leftBy: new Set(), socketsLeftBy: new Set() },
      ...{ isAnnounced: false, isLeaving: false },
      inbound: null,
    }
    this.#pods.set(message.pod.uid, pod)
    this.#names.set(pod.number, `${pod.info.namespace}/${pod.info.name}`)
    setTimeout(() => {
      if (this.#options.isAlone()) this.#announce(pod)
    }, PREPARE_DEADLINE_MS).unref()
    setTimeout(() => this.#announce(pod), PREPARE_BESIDE_DEADLINE_MS).unref()
    this.#prepare(pod)
  }

  /** Its connections may end in their time. */
  letGo(uid: string): void {
    const { workers, send } = this.#options
    const pod = this.#pods.get(uid)
    if (pod !== undefined) pod.isLeaving = true
    if (pod?.isAnnounced === true) workers.broadcast({ type: 'pod-leaving', uid })
    else send({ type: 'pod-left', uid })
  }

  /** It does not leave. */
  takeBack(uid: string): void {
    const pod = this.#pods.get(uid)
    if (pod !== undefined) pod.isLeaving = false
    pod?.leftBy.clear()
    this.#options.workers.broadcast({ type: 'pod-returned', uid })
  }

  remove(uid: string): void {
    const { workers, guard, secrets, snapshot } = this.#options
    const pod = this.#pods.get(uid)
    if (pod === undefined) return
    this.#pods.delete(uid)
    this.#names.delete(pod.number)
    guard.forget(uid)
    workers.accounts.close(uid)
    workers.broadcast({ type: 'pod-removed', uid })
    const identity = this.#identityOf(pod)
    if (
      identity !== undefined &&
      ![...this.#pods.values()].some((other) => this.#identityOf(other) === identity)
    ) {
      secrets.forget(identity)
      snapshot.certificatesChanged()
      workers.broadcast({ type: 'certificate-forgotten', identity })
    }
    // The workers use these descriptors until they have read the message: main closes its copies afterwards.
    setTimeout(() => {
      for (const fd of pod.listeners.values()) closeSync(fd)
      if (pod.namespaceFd !== null) closeSync(pod.namespaceFd)
    }, REPORT_DEADLINE_MS)
  }

  /** Workers are told what concerns them and has changed. */
  onModel(): void {
    const { workers } = this.#options
    for (const pod of this.#pods.values()) {
      if (pod.isAnnounced && this.#describe(pod)) workers.broadcast(this.#podMessage(pod))
      this.#prepare(pod)
    }
    const used = new Set([...this.#pods.values()].flatMap(({ inbound }) => inbound?.policies ?? []))
    const numbers = this.#policyNumbers.retain(used)
    if (numbers.length > 0) workers.broadcast({ type: 'policies-removed', numbers })
  }

  /** A worker has (re)started and knows nothing. */
  introduce(worker: number): void {
    const { workers } = this.#options
    workers.post(worker, { type: 'policies', policies: this.#policyNumbers.all() })
    for (const pod of this.#pods.values()) {
      pod.servedBy.delete(worker)
      if (!pod.isAnnounced) continue
      workers.post(worker, this.#podMessage(pod))
      if (pod.isLeaving) workers.post(worker, { type: 'pod-leaving', uid: pod.info.uid })
    }
  }

  /** A worker has taken the place of one that died while this process drains: it has nothing of any pod. */
  introduceIdle(worker: number): void {
    for (const uid of this.#pods.keys()) this.onSocketsLeft(uid, worker)
  }

  /** A worker serves it. */
  onServed(uid: string, worker: number): void {
    this.#pods.get(uid)?.servedBy.add(worker)
    this.#options.send({ type: 'pod-ready', uid })
  }

  /** A worker has nothing open of it any more. */
  onLeft(uid: string, worker: number): void {
    const { workers, send } = this.#options
    if (this.#pods.get(uid)?.leftBy.add(worker).size === workers.count) send({ type: 'pod-left', uid })
  }

  /** A worker uses its listening sockets no more: with all of them, a pod that leaves the mesh and comes back can have new ones. */
  onSocketsLeft(uid: string, worker: number): void {
    const pod = this.#pods.get(uid)
    if (pod?.socketsLeftBy.add(worker).size !== this.#options.workers.count) return
    for (const fd of pod.listeners.values()) closeSync(fd)
    pod.listeners = new Map()
  }

  #workloadOf({ info }: Pod): Workload | undefined {
    const { model, unlisted } = this.#options
    const listed = model.state?.ownWorkload(info.namespace, info.name, info.serviceAccount)
    const isOwn = model.state !== null && info.onlyPort !== undefined
    return listed ?? (isOwn ? unlisted(info) : undefined)
  }

  #identityOf(pod: Pod): string | undefined {
    const workload = this.#workloadOf(pod)
    return workload === undefined ? undefined : identityOf(workload)
  }

  #podMessage(pod: Pod): PodMessage {
    const { info, number, namespaceFd, listeners, inbound } = pod
    const numbered =
      inbound === null ? null : { ...inbound, policies: this.#policyNumbers.of(inbound.policies) }
    const account = this.#options.workers.accounts.open(info.uid, number)
    return { type: 'pod', pod: info, number, namespaceFd, listeners, account, inbound: numbered }
  }

  /** Brings what is known of a pod up to the model; false when that is what it was. */
  #describe(pod: Pod): boolean {
    const workload = this.#workloadOf(pod)
    const { state } = this.#options.model
    const inbound = workload === undefined || state === null ? null : describeInbound(state, workload)
    if (inbound === pod.inbound) return false
    if (inbound !== null && pod.inbound !== null && isSameInbound(inbound, pod.inbound)) return false
    pod.inbound = inbound
    if (inbound === null) return true
    this.#options.guard.describe(pod.info.uid, inbound.policies)
    this.#options.workers.streamSlots.prepare(inbound.guard?.ways.flatMap(({ waypoints }) => waypoints) ?? [])
    return true
  }

  /**
   * Gets a pod its certificate, then lets the workers serve it: until then its connects wait in the queues of its
   * listening sockets, where a worker could only refuse them.
   */
  #prepare(pod: Pod): void {
    const { model, secrets, log } = this.#options
    if (model.state === null) return // the first model comes back to it
    const identity = this.#identityOf(pod)
    if (identity === undefined) this.#announce(pod)
    else {
      secrets
        .get(identity, 'warm-up')
        .catch((error: unknown) => log.warn({ identity, err: error }, 'certificate not available yet'))
        .finally(() => this.#announce(pod))
    }
  }

  #announce(pod: Pod): void {
    if (pod.isAnnounced || this.#pods.get(pod.info.uid) !== pod) return
    pod.isAnnounced = true
    this.#describe(pod)
    this.#options.workers.broadcast(this.#podMessage(pod))
  }
}
