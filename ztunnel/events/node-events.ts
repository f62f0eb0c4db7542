// SPDX-License-Identifier: Apache-2.0
// What happened lately to the pods of this node: their connections as the workers record them, and what main hears of their
// enrolment, redirection and certificates. On the disk every few seconds, so that it is there after a crash too. While one
// process drains and the next one serves, both write: whoever finds the other's file takes over what is in it first.

import type { PodInfo, SupervisorMessage } from '../../mesh/generations/pods.ts'
import type { WorkloadCertificate } from '../../mesh/identity/certificate.ts'
import type { MeshState } from '../../mesh/model/mesh-state.ts'
import { identityOf } from '../../mesh/model/workload.ts'
import type { Clock, ClockTimer } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import type { SealedPlace } from '../../mesh/snapshot/read-frames.ts'
import { SavedDocument } from '../../mesh/snapshot/saved-document.ts'
import type { RecordBatch } from '../../mesh/telemetry/record-batch.ts'
import { TapReaders } from '../../mesh/telemetry/tap-readers.ts'
import { formatEvent, ownerOf, type PodEvent } from './event-line.ts'
import { type EventLines, EventRings, MAX_GOOD_EVENTS } from './event-rings.ts'
import { isWanted, type TapFilter } from './tap-filter.ts'

/** Events are on the disk after this; a crash forgets those that came last. */
const SAVE_INTERVAL_MS = 5000
/** Text that is written in that time: more of it is written less often, because all of it is written each time. */
const SAVED_BYTES = 4 * 1024 * 1024

/** What it is made of. */
export interface NodeEventsOptions {
  readonly place: () => Promise<SealedPlace>
  readonly network: string
  readonly pods: () => readonly PodInfo[]
  /** `namespace/name` of the pod with a number; undefined for one that has gone. */
  readonly podOf: (number: number) => string | undefined
  /** Somebody reads events as they happen, or nobody any more. */
  readonly onTap: (isOn: boolean) => void
  readonly model: { readonly state: MeshState | null }
  readonly clock: Clock
  readonly log: Log
}

/** start() … close(). */
export class NodeEvents {
  readonly tap: TapReaders<TapFilter>
  readonly #options: NodeEventsOptions
  readonly #rings = new EventRings()
  readonly #document: SavedDocument
  #hasNew = false
  #timer: ClockTimer | null = null
  #saving: Promise<void> = Promise.resolve()

  constructor(options: NodeEventsOptions) {
    const { place, clock, log, onTap } = options
    this.#options = options
    this.tap = new TapReaders(clock, (filters) => onTap(filters.length > 0))
    const content = (): unknown => ({ events: this.#rings.all() })
    this.#document = new SavedDocument({ what: 'events of pods', place, content, clock, log })
  }

  /** Reads what an earlier process has left. Never rejects. */
  async start(): Promise<void> {
    await this.#takeOver()
    this.#startTimer()
  }

  /**
   * Connections have ended. Of those that went well only so many of each pod are kept: the others need not be looked at, unless
   * somebody listens.
   */
  onRecords(batch: RecordBatch): void {
    for (const index of batch.latest(this.tap.isOn ? Number.POSITIVE_INFINITY : MAX_GOOD_EVENTS)) {
      const line = batch.textOf(index)
      const owner = this.#options.podOf(batch.ownerOf(index)) ?? this.#ownerOf(line)
      if (owner !== '') this.#push(owner, line)
    }
  }

  /** One can carry bytes from now on: for those who listen, kept nowhere. */
  onOpened(line: string): void {
    const owner = this.#ownerOf(line)
    if (owner !== '') this.#tell(owner, line)
  }

  /** Something happened to a pod itself. */
  add(pod: Pick<PodInfo, 'namespace' | 'name'>, event: PodEvent): void {
    this.#push(`${pod.namespace}/${pod.name}`, formatEvent(this.#options.clock.nowMs, event))
  }

  /** Before the pod is added, or removed. */
  onSupervisor(message: SupervisorMessage): void {
    if (message.type === 'pod-added') this.add(message.pod, { msg: 'pod enrolled', uid: message.pod.uid })
    else if (message.type === 'pod-removed') this.#addByUid(message.uid, 'pod removed')
    else if (message.type === 'pod-leaving') this.#addByUid(message.uid, 'pod leaves the mesh')
    else if (message.type === 'pod-mended')
      this.#addByUid(message.uid, 'redirection was damaged and is mended')
  }

  /** A worker cannot serve it. */
  onFailed(uid: string, detail: string): void {
    this.#addByUid(uid, 'pod cannot be served', { detail })
  }

  onCertificate({ identity, serialNumber, notAfterMs }: WorkloadCertificate): void {
    const { pods, model } = this.#options
    for (const pod of pods()) {
      const workload = model.state?.ownWorkload(pod.namespace, pod.name, pod.serviceAccount)
      if (workload === undefined || identityOf(workload) !== identity) continue
      const expires = new Date(notAfterMs).toISOString()
      this.add(pod, { msg: 'certificate changed', identity, serialNumber, expires })
    }
  }

  /** The events of a pod, `namespace/name`, oldest first: lines of JSON. */
  of(pod: string): readonly string[] {
    return this.#rings.of(pod)
  }

  all(): EventLines {
    return this.#rings.all()
  }

  /** Writes what is new now: another process is about to read it. */
  async save(): Promise<void> {
    this.#saving = this.#saving.then(async () => {
      if (!this.#hasNew) return
      this.#hasNew = false
      if (await this.#document.isForeign()) await this.#takeOver()
      this.#document.changed()
    })
    await this.#saving
    await this.#document.flush()
  }

  /** The process before this one has written what it saw last. */
  catchUp(): Promise<void> {
    this.#saving = this.#saving.then(async () => {
      if (await this.#document.isForeign()) await this.#takeOver()
    })
    return this.#saving
  }

  async close(): Promise<void> {
    this.#timer?.cancel()
    await this.save()
    await this.#document.close()
  }

  async #takeOver(): Promise<void> {
    const found = await this.#document.load()
    if (found !== null) this.#rings.merge((found.content as { events: EventLines }).events) // as: its MAC says that we wrote it
  }

  #addByUid(uid: string, msg: string, fields: Omit<PodEvent, 'msg'> = {}): void {
    const pod = this.#options.pods().find((each) => each.uid === uid)
    if (pod !== undefined) this.add(pod, { msg, uid, ...fields })
  }

  /** For a pod that has gone meanwhile, or an opening. A record names nobody before the pod is configured. */
  #ownerOf(line: string): string {
    const { model, network } = this.#options
    const { pod, ip } = ownerOf(line)
    if (pod !== '') return pod
    const workload = ip === '' ? undefined : model.state?.workloadByIp(network, ip)
    return workload === undefined ? '' : `${workload.namespace}/${workload.name}`
  }

  #push(pod: string, line: string): void {
    this.#rings.push(pod, line)
    this.#hasNew = true
    this.#tell(pod, line)
  }

  #tell(pod: string, line: string): void {
    this.tap.tell(
      (filter) => isWanted(filter, pod, line),
      () => `{"pod":${JSON.stringify(pod)},${line.slice(1)}`,
    )
  }

  #startTimer(): void {
    const intervalMs = SAVE_INTERVAL_MS * Math.max(1, this.#rings.byteCount / SAVED_BYTES)
    this.#timer = this.#options.clock.startTimer(intervalMs, () => {
      void this.save()
      this.#startTimer()
    })
  }
}
