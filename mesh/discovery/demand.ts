// SPDX-License-Identifier: Apache-2.0
// What a client asks a controller for that does not want everything: addresses that were called, and what it takes to reach
// them. The workloads of its node come by themselves. Bounded; what is not used is given back. No I/O. SPEC XDS §1.5.
import { waypointsOf } from '../model/destination.ts'
import type { MeshConfig } from '../model/mesh-state.ts'
import { type Service, serviceKey } from '../model/service.ts'
import { formatGateway, type GatewayAddress, type Workload } from '../model/workload.ts'

/** Addresses asked for because somebody called them; the one that was not used for longest goes, unknown ones first. */
export const MAX_DEMANDED_ADDRESSES = 4096
/** An address that nobody has called for so long is given back. */
export const DEMAND_IDLE_MS = 600_000

interface Root {
  usedMs: number
  /** The controller has answered on this stream or an earlier one. */
  answer: 'none' | 'known' | 'unknown'
}

/** Changes of what is asked for. */
export interface DemandChange {
  readonly subscribe: readonly string[]
  readonly unsubscribe: readonly string[]
}

export class Demand {
  readonly #node: string
  /** Called addresses, `<network>/<ip>`, the one used last at the end. */
  readonly #roots = new Map<string, Root>()
  /** What they and the node's own workloads need besides. */
  #derived: ReadonlySet<string> = new Set()
  /** Told to the controller. */
  #sent = new Set<string>()
  /** Derived keys that were answered. */
  readonly #answered = new Set<string>()
  #names = namesOf({ workloads: [], services: [], policies: [] })

  constructor(node: string) {
    this.#node = node
  }

  /** An address is called: it is asked for from now on. */
  use(key: string, nowMs: number): void {
    const root = this.#roots.get(key) ?? { usedMs: nowMs, answer: 'none' }
    root.usedMs = nowMs
    this.#roots.delete(key)
    this.#roots.set(key, root)
    if (this.#roots.size > MAX_DEMANDED_ADDRESSES) this.#evict(key)
  }

  #evict(added: string): void {
    let oldest: string | null = null
    for (const [key, { answer }] of this.#roots) {
      if (key === added) break
      oldest ??= key
      if (answer !== 'unknown') continue
      oldest = key
      break
    }
    if (oldest !== null) this.#roots.delete(oldest)
  }

  /** True when the controller has said all about the address, as far as it needs to be known to call it. */
  isSettled(key: string): boolean {
    const root = this.#roots.get(key)
    if (root === undefined || root.answer === 'none') return false
    for (const each of reachable([key], [], this.#names)) {
      if (each !== key && !this.#answered.has(each) && this.#roots.get(each)?.answer !== 'known') return false
    }
    return true
  }

  /** Names that a response answered. `isKnown`: with a resource. */
  onAnswered(names: Iterable<string>, isKnown: boolean): void {
    for (const name of names) {
      const root = this.#roots.get(name)
      if (root !== undefined) root.answer = isKnown ? 'known' : 'unknown'
      if (this.#derived.has(name)) this.#answered.add(name)
    }
  }

  /** What is held has changed: other things may be needed. */
  update(config: MeshConfig): void {
    const own = config.workloads.filter(({ node }) => node === this.#node && node !== '')
    this.#names = namesOf(config)
    const derived = reachable(this.#roots.keys(), own, this.#names)
    this.#derived = derived
    for (const key of this.#answered) if (!derived.has(key)) this.#answered.delete(key)
  }

  /** Gives back what was not used since `nowMs - DEMAND_IDLE_MS`. True when there was something. */
  expire(nowMs: number): boolean {
    const before = this.#roots.size
    for (const [key, { usedMs }] of this.#roots) {
      if (nowMs - usedMs < DEMAND_IDLE_MS) break
      this.#roots.delete(key)
    }
    return this.#roots.size < before
  }

  /** True when something is about to be given back: those who use it without asking should ask. */
  isAgeing(nowMs: number): boolean {
    const [oldest] = this.#roots.values()
    return oldest !== undefined && nowMs - oldest.usedMs >= DEMAND_IDLE_MS / 2
  }

  #wanted(): Set<string> {
    return new Set([...this.#roots.keys(), ...this.#derived])
  }

  /** Everything there is to ask for, on a new stream. */
  greeting(): readonly string[] {
    this.#sent = this.#wanted()
    return [...this.#sent]
  }

  /** What to tell the controller since the last time. */
  take(): DemandChange {
    const wanted = this.#wanted()
    const subscribe = [...wanted].filter((key) => !this.#sent.has(key))
    const unsubscribe = [...this.#sent].filter((key) => !wanted.has(key))
    this.#sent = wanted
    return { subscribe, unsubscribe }
  }

  get size(): number {
    return this.#roots.size
  }
}

/** Waypoints and gateways on the way to `keys` and before `own`, and the services of `own`; names of all of them. */
function reachable(keys: Iterable<string>, own: readonly Workload[], names: Names): Set<string> {
  const found = new Set<string>()
  const seen = new Set<string>()
  const queue: string[] = [...keys, ...names.ranges]
  const add = (key: string): void => {
    found.add(key)
    queue.push(key)
  }
  const follow = (reference: GatewayAddress | null): void => {
    if (reference !== null) add(formatGateway(reference))
  }
  for (const workload of own) {
    follow(workload.waypoint)
    for (const service of Object.keys(workload.services)) add(service)
  }
  for (let key = queue.pop(); key !== undefined; key = queue.pop()) {
    if (seen.has(key)) continue
    seen.add(key)
    for (const workload of names.workloads.get(key) ?? []) {
      follow(workload.waypoint)
      follow(workload.networkGateway)
    }
    for (const service of names.services.get(key) ?? []) {
      for (const { destination } of waypointsOf(service)) follow(destination)
      for (const gateway of names.gateways.get(serviceKey(service)) ?? []) add(gateway)
    }
  }
  return found
}

/** Everything that is held, by the names it may be asked for by. */
interface Names {
  readonly workloads: ReadonlyMap<string, readonly Workload[]>
  readonly services: ReadonlyMap<string, readonly Service[]>
  /** Gateways of the networks of a service's endpoints, by the service's key. */
  readonly gateways: ReadonlyMap<string, readonly string[]>
  /** Services that answer for every address in a range. */
  readonly ranges: readonly string[]
}

function namesOf({ workloads, services }: MeshConfig): Names {
  const names = {
    workloads: new Map<string, Workload[]>(),
    services: new Map<string, Service[]>(),
    gateways: new Map<string, string[]>(),
  }
  for (const service of services) {
    append(names.services, serviceKey(service), service)
    for (const { network, ip } of service.vips) append(names.services, `${network}/${ip}`, service)
  }
  for (const workload of workloads) {
    for (const ip of workload.workloadIps) append(names.workloads, `${workload.network}/${ip}`, workload)
    if (workload.hostname !== '')
      append(names.workloads, `${workload.namespace}/${workload.hostname}`, workload)
    if (workload.networkGateway === null) continue
    for (const key of Object.keys(workload.services))
      append(names.gateways, key, formatGateway(workload.networkGateway))
  }
  const ranges = services.filter(({ cidrVips }) => cidrVips.length > 0).map(serviceKey)
  return { ...names, ranges }
}

function append<T>(map: Map<string, T[]>, key: string, value: T): void {
  const known = map.get(key)
  if (known === undefined) map.set(key, [value])
  else known.push(value)
}
