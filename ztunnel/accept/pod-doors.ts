// SPDX-License-Identifier: Apache-2.0
// Where the pods of a worker are entered: their listeners, connections that are here before their pod, and pods that are let end.
// Those take nobody new, and it is told when all that they had has ended.
import type { MeshError } from '../../mesh/errors/mesh-error.ts'
import type { Refusal } from '../../mesh/errors/refusal.ts'
import {
  isDatagramKind,
  LISTENER_KINDS,
  type ListenerKind,
  type StreamKind,
} from '../../mesh/generations/pods.ts'
import { type AcceptHandler, TcpListener } from '../../mesh/reactor/tcp-listener.ts'
import type { ServedPod } from '../carry/served-pod.ts'
import type { WorkerContext } from '../carry/worker-context.ts'
import type { DnsResources } from '../dns/dns-resources.ts'
import { DnsServer } from '../dns/dns-server.ts'
import { ACCEPT, ACCEPT_KIND } from './acceptors.ts'

/** Connections are accepted so long after nobody is redirected any more. */
const DRAIN_ACCEPT_MS = 200
/** A connection waits so long for its pod: workers hear of one within milliseconds of each other. */
const EARLY_WAIT_MS = 1000
/** How often it is looked whether pods that are let end are empty. */
const DRAIN_CHECK_MS = 50
/** Warnings of one kind are sent at most this often. */
const WARN_INTERVAL_MS = 1000

/** How one pod is entered. */
interface Door {
  readonly pod: ServedPod
  /** Main's. */
  readonly listenerFds: ReadonlyMap<ListenerKind, number>
  /** Null: nobody is accepted any more. */
  listeners: readonly TcpListener[] | null
  /** Null: its questions have not come here yet. */
  dns: DnsServer | null
  /** What is open is let end. */
  isLeaving: boolean
}

/** A connection of a pod that this worker has not heard of. */
interface EarlyConnection {
  readonly fd: number
  readonly number: number
  readonly kind: StreamKind
}

/** Of one worker. */
export class PodDoors {
  readonly #context: WorkerContext
  readonly #dnsResources: DnsResources
  readonly #doors = new Map<string, Door>()
  readonly #byNumber = new Map<number, Door>()
  readonly #early = new Set<EarlyConnection>()
  #lastWarnedMs = Number.NEGATIVE_INFINITY

  constructor(context: WorkerContext, dnsResources: DnsResources) {
    this.#context = context
    this.#dnsResources = dnsResources
  }

  /** Listens for a pod that is new. @throws MeshError where a descriptor is no listener */
  open(pod: ServedPod, listenerFds: ReadonlyMap<ListenerKind, number>): void {
    const door: Door = { pod, listenerFds, listeners: null, dns: null, isLeaving: false }
    this.#doors.set(pod.info.uid, door)
    this.#byNumber.set(pod.number, door)
    this.#listen(door)
  }

  /** Takes who was here before it. */
  serveEarly(pod: ServedPod): void {
    const door = this.#byNumber.get(pod.number)
    for (const early of this.#early) {
      if (door === undefined || early.number !== pod.number) continue
      this.#early.delete(early)
      this.#serve(door, early.kind, early.fd)
    }
  }

  /** The pod is gone; `reason` is told to who has asked its DNS. */
  close(uid: string, reason: Refusal): void {
    const door = this.#doors.get(uid)
    if (door === undefined) return
    for (const listener of door.listeners ?? []) listener.close()
    door.dns?.close(reason)
    this.#doors.delete(uid)
    this.#byNumber.delete(door.pod.number)
  }

  /** A connection another worker accepted for us. */
  adopt(fd: number, listener: number): void {
    const kind = LISTENER_KINDS[listener % LISTENER_KINDS.length]
    const number = Math.floor(listener / LISTENER_KINDS.length)
    if (kind === undefined || isDatagramKind(kind)) return
    const door = this.#byNumber.get(number)
    if (door !== undefined) this.#serve(door, kind, fd)
    else this.#keepEarly({ fd, number, kind })
  }

  /** Its DNS; null where none has asked here. */
  dnsOf(uid: string): DnsServer | null {
    return this.#doors.get(uid)?.dns ?? null
  }

  /** What is known of names may have changed. */
  invalidateNames(): void {
    for (const { dns } of this.#doors.values()) dns?.names.invalidate()
  }

  /**
   * Takes no new connections; what is open may finish, then `onIdle`. `isForGood`: another generation has the pods, but for those
   * that left before.
   */
  drain(uids: readonly string[], isForGood: boolean, onIdle: () => void): void {
    // The kernel goes on to redirect ports that have asked before. Questions from them are ours, unless another generation has the pod.
    const handedOver = new Set(isForGood ? uids.filter((uid) => !this.#isLeaving(uid)) : [])
    for (const uid of uids) {
      const door = this.#doors.get(uid)
      if (door !== undefined) door.isLeaving = true
    }
    // Who is in the queue of a listening socket is redirected already: nobody else would take him.
    this.#context.reactor.startTimer(DRAIN_ACCEPT_MS, () => {
      for (const uid of uids) if (this.#isLeaving(uid)) this.#finish(uid, handedOver.has(uid))
      this.#whenIdle(uids, onIdle)
    })
  }

  /** A pod was let go of, and is back before all that it had open has ended. */
  takeBack(uid: string): void {
    const door = this.#doors.get(uid)
    if (door === undefined || !door.isLeaving) return
    door.isLeaving = false
    door.pod.resume()
    if (door.listeners === null) this.#listen(door)
  }

  #listen(door: Door): void {
    const opened: TcpListener[] = []
    door.listeners = opened
    for (const [kind, fd] of door.listenerFds) {
      if (isDatagramKind(kind)) {
        this.#dnsOf(door).listen(fd)
        continue
      }
      const handler: AcceptHandler = {
        onAccept: (connection) => this.#onAccept(door, kind, connection),
        onAcceptRefused: (error) => this.#onAcceptRefused(door, error),
      }
      opened.push(new TcpListener(this.#context.reactor, fd, handler, true))
    }
  }

  #dnsOf(door: Door): DnsServer {
    door.dns ??= new DnsServer(door.pod, this.#dnsResources)
    return door.dns
  }

  #onAccept(door: Door, kind: StreamKind, fd: number): void {
    const listener = door.pod.number * LISTENER_KINDS.length + LISTENER_KINDS.indexOf(kind)
    const { share, pressure } = this.#context
    pressure.onAccepted(fd)
    // Of a pod that leaves nothing is handed to a worker which may have said already that it has nothing open.
    if (door.isLeaving) share.retain(ACCEPT_KIND[kind])
    else if (!share.keep(ACCEPT_KIND[kind], fd, listener)) return
    this.#serve(door, kind, fd)
  }

  #serve(door: Door, kind: StreamKind, fd: number): void {
    if (kind !== 'dns-tcp' && kind !== 'dns-tcp6') ACCEPT[kind](door.pod, fd)
    else this.#dnsOf(door).accept(fd, () => this.#context.share.released(ACCEPT_KIND[kind]))
  }

  #onAcceptRefused({ pod }: Door, error: MeshError): void {
    const { nowMs } = this.#context.reactor
    if (nowMs - this.#lastWarnedMs < WARN_INTERVAL_MS) return
    this.#lastWarnedMs = nowMs
    const fields = { uid: pod.info.uid, reason: error.code, detail: error.detail }
    this.#context.post({ type: 'log', level: 'warn', message: 'connections turned away', fields })
  }

  /** The other worker has heard of a new pod before this one, or this one that it is gone before the other. */
  #keepEarly(early: EarlyConnection): void {
    this.#early.add(early)
    this.#context.reactor.startTimer(EARLY_WAIT_MS, () => {
      if (!this.#early.delete(early)) return
      this.#context.reactor.closeLater(early.fd)
      this.#context.share.released(ACCEPT_KIND[early.kind])
    })
  }

  #finish(uid: string, isHandedOver: boolean): void {
    const door = this.#doors.get(uid)
    for (const listener of door?.listeners ?? []) listener.finish()
    if (door !== undefined) door.listeners = null
    if (isHandedOver) {
      const onLeft = (): void => this.#context.post({ type: 'sockets-left', uid })
      if (door?.dns) door.dns.drain(onLeft)
      else onLeft()
    }
    door?.pod.drain()
  }

  /** One that is gone altogether counts as leaving. */
  #isLeaving(uid: string): boolean {
    return this.#doors.get(uid)?.isLeaving ?? true
  }

  #whenIdle(uids: readonly string[], onIdle: () => void): void {
    const isIdle = (uid: string): boolean => {
      const door = this.#doors.get(uid)
      return door === undefined || (door.pod.isIdle && (door.dns?.isIdle ?? true))
    }
    if (!uids.every((uid) => this.#isLeaving(uid))) return // one is back
    if (uids.every(isIdle)) onIdle()
    else this.#context.reactor.startTimer(DRAIN_CHECK_MS, () => this.#whenIdle(uids, onIdle))
  }
}
