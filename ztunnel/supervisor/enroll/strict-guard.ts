// SPDX-License-Identifier: Apache-2.0
// Keeps the guard of a node's strict pods (guard-rules.ts): who is strict says the data process, where the pods are says the
// agent. Tells what the guard refuses, since whoever it turns away is not seen inside the pod. docs/decisions/0010-guard.md
import { isDeepStrictEqual } from 'node:util'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { REASONS } from '../../../mesh/errors/reasons.ts'
import { parseIp } from '../../../mesh/net/address.ts'
import { NO_PORTS, type PortSet } from '../../../mesh/net/port-set.ts'
import { type LoggedPacket, PacketLog } from '../../../mesh/reactor/netlink/packet-log.ts'
import { NetworkNamespace } from '../../../mesh/reactor/netns.ts'
import { type Clock, type ClockTimer, systemClock } from '../../../mesh/runtime/clock.ts'
import type { Log } from '../../../mesh/runtime/log.ts'
import type { ZtunnelConfig } from '../../config.ts'
import { choosePods, GUARD_LOG_GROUP, GUARD_TABLE, guardTable, refusedCounts } from './guard-rules.ts'
import { HostTable, type StandingRules } from './host-table.ts'

/** Pods that become strict together are written together. */
const GATHER_MS = 20
/** What a predecessor has left stands until the data process serves its pods, and so has said who is strict; or so long. */
const LEARN_MS = 10_000

/** Hears what was refused. */
export interface GuardListener {
  /** One connection; under many of them not each. */
  onRefused(uid: string, packet: LoggedPacket): void
  /** So many more connections to the pod, all of them. */
  onCounted(uid: string, count: number): void
}

export interface StrictGuardOptions {
  /** Network namespace of the node. */
  readonly path: string
  readonly clock: Clock
  readonly log: Log
  readonly listener: GuardListener
}

export class StrictGuard {
  readonly #options: StrictGuardOptions
  readonly #table: HostTable
  /** Addresses of the pods that are enrolled. */
  readonly #ips = new Map<string, readonly string[]>()
  readonly #closed = new Map<string, PortSet>()
  /** Of the pods in the table. */
  #uids: ReadonlyMap<string, string> = new Map()
  #counts: ReadonlyMap<string, number> | null = null
  #log: PacketLog | null = null
  #timer: ClockTimer | null = null
  #hasBegun = false
  readonly #beginTimer: ClockTimer
  #lastComplaint = ''

  constructor(options: StrictGuardOptions) {
    this.#options = options
    const { path, log } = options
    const complaint = 'strict pods have no guard: they are strict by the rules inside them alone'
    this.#table = new HostTable({ path, table: GUARD_TABLE, log, complaint })
    this.#beginTimer = options.clock.startTimer(LEARN_MS, () => this.begin())
  }

  /** All that is strict has been said: from now on the table is what it should be. */
  begin(): void {
    this.#beginTimer.cancel()
    this.#hasBegun = true
    this.#soon()
  }

  /** Another supervisor is about to keep the table, which stays; begin() when it does not come to that. */
  suspend(): void {
    this.#silence()
    this.#timer?.cancel()
    this.#timer = null
    this.#beginTimer.cancel()
    this.#hasBegun = false
  }

  /** Another one keeps the table: nothing that was said counts any more. */
  forget(): void {
    this.#ips.clear()
    this.#closed.clear()
    this.#uids = new Map()
    this.#counts = null
  }

  /** The addresses of an enrolled pod; none: it is to have no guard. */
  set(uid: string, ips: readonly string[]): void {
    const known = ips.flatMap((ip) => parseIp(ip) ?? [])
    if (isDeepStrictEqual(this.#ips.get(uid), known)) return
    this.#ips.set(uid, known)
    if (this.#closed.has(uid)) this.#soon()
  }

  /** The ports of a pod that take no plaintext, until something else is said or the pod is removed. */
  setClosed(uid: string, ports: PortSet): void {
    if (isDeepStrictEqual(this.#closed.get(uid) ?? NO_PORTS, ports)) return
    this.#closed.set(uid, ports)
    if (this.#ips.has(uid)) this.#soon()
  }

  /** At once: what comes next to the pod is not for the mesh. */
  remove(uid: string): void {
    const [hadAddress, wasClosed] = [this.#ips.delete(uid), this.#closed.delete(uid)]
    if (hadAddress && wasClosed) this.sync()
  }

  /** Makes the table what it should be, if it is not; without strict pods there is none. Never throws. */
  sync(): void {
    if (!this.#hasBegun) return
    this.#timer?.cancel()
    this.#timer = null
    const pods = [...this.#closed].map(([uid, closed]) => ({ uid, closed, ips: this.#ips.get(uid) ?? [] }))
    const { guarded, unguarded } = choosePods(pods)
    if (guarded.length > 0) this.#listen()
    const isWritten = this.#table.sync(guarded.length === 0 ? null : guardTable(guarded), (rules) =>
      this.#count(rules),
    )
    if (isWritten) this.#counts = new Map()
    this.#uids = new Map(guarded.flatMap(({ uid, ips }) => ips.map((ip) => [ip, uid] as const)))
    if (guarded.length === 0) this.#silence()
    if (unguarded.length > 0)
      this.#complain('LIMIT_NODE', `${unguarded.length} pods, the first is ${unguarded[0]?.uid}`)
  }

  /** Takes everything away. */
  close(): void {
    this.#ips.clear()
    this.#closed.clear()
    this.#beginTimer.cancel()
    this.#hasBegun = true
    this.sync()
  }

  #soon(): void {
    this.#timer ??= this.#options.clock.startTimer(GATHER_MS, () => this.sync())
  }

  /** What a supervisor before this one has counted it has told. */
  #count(rules: StandingRules): void {
    const before = this.#counts
    const now = refusedCounts(rules)
    this.#counts = now
    if (before === null) return
    for (const [ip, count] of now) {
      const known = before.get(ip) ?? 0
      // Less than before: somebody has reset the counter.
      const more = count >= known ? count - known : count
      const uid = this.#uids.get(ip)
      if (more > 0 && uid !== undefined) this.#options.listener.onCounted(uid, more)
    }
  }

  /** Until it is heard by us: a supervisor that ends may still listen. */
  #listen(): void {
    if (this.#log !== null) return
    try {
      const namespace = NetworkNamespace.open(this.#options.path)
      try {
        this.#log = new PacketLog(namespace, GUARD_LOG_GROUP, (packet) => this.#onPacket(packet))
      } finally {
        namespace.close()
      }
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      this.#complain(error.code, error.detail)
    }
  }

  #silence(): void {
    this.#log?.close()
    this.#log = null
  }

  #onPacket(packet: LoggedPacket): void {
    const uid = this.#uids.get(packet.destination.ip)
    if (uid !== undefined) this.#options.listener.onRefused(uid, packet)
  }

  #complain(reason: MeshError['code'], detail: string): void {
    if (detail === this.#lastComplaint) return
    this.#lastComplaint = detail
    const { fix } = REASONS[reason]
    this.#options.log.warn({ reason, detail, fix }, 'the guard of strict pods is not complete')
  }
}

/** The guard of a node that enrols its pods itself, and writes their rules; null: there is to be none. */
export function openGuard(config: ZtunnelConfig, log: Log, listener: GuardListener): StrictGuard | null {
  const { kubernetesEnrolment, redirect, strictGuard, hostNetworkPath: path } = config
  if (!kubernetesEnrolment || !redirect || !strictGuard) return null
  return new StrictGuard({ path, clock: systemClock, log, listener })
}
