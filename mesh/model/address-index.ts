// SPDX-License-Identifier: Apache-2.0
// Workloads and services by everything they are looked up by: uid, IP, VIP, host, namespace. Immutable, and by far the
// larger part of a configuration: it is built anew only when a workload or service changed. Rules: SPEC HBONE §4.1.
import { ipToBytes } from '../net/address.ts'
import { type Cidr, cidrContains, parseCidr } from '../net/cidr.ts'
import { type Service, serviceKey } from './service.ts'
import type { PortMap, Workload } from './workload.ts'

/** A workload as member of a service, with its own port map. */
export interface Endpoint {
  readonly workload: Workload
  readonly ports: PortMap
}

interface CidrVip {
  readonly network: string
  readonly cidr: Cidr
  readonly service: Service
}

/** Everything that has an address. */
export class AddressIndex {
  readonly workloads: readonly Workload[]
  readonly services: readonly Service[]
  /** Those that name a waypoint: few, and asked for every pod. */
  readonly behindWaypoints: { readonly workloads: readonly Workload[]; readonly services: readonly Service[] }
  /** What it was built from. */
  readonly #sources: readonly [readonly Workload[], readonly Service[]]
  readonly #workloadByUid = new Map<string, Workload>()
  readonly #workloadByIp = new Map<string, Workload>()
  readonly #workloadsByHost = new Map<string, Workload[]>()
  readonly #workloadsByNamespace = new Map<string, Workload[]>()
  readonly #serviceByKey = new Map<string, Service>()
  readonly #servicesByVip = new Map<string, Service[]>()
  readonly #servicesByHost = new Map<string, Service[]>()
  readonly #cidrVips: CidrVip[] = []
  readonly #endpoints = new Map<string, Endpoint[]>()

  /** Of two things with one key the later counts. */
  constructor(workloads: readonly Workload[], services: readonly Service[]) {
    this.#sources = [workloads, services]
    for (const workload of workloads) this.#workloadByUid.set(workload.uid, workload)
    for (const service of services) this.#serviceByKey.set(serviceKey(service), service)
    this.workloads = [...this.#workloadByUid.values()]
    this.services = [...this.#serviceByKey.values()]
    for (const workload of this.workloads) this.#indexWorkload(workload)
    for (const service of this.services) this.#indexService(service)
    this.behindWaypoints = {
      workloads: this.workloads.filter(({ waypoint }) => waypoint !== null),
      services: this.services.filter(
        ({ waypoint, weightedWaypoints }) => waypoint !== null || weightedWaypoints.length > 0,
      ),
    }
  }

  /** True when an index of these would be the same: the same objects in the same order. */
  isOf(workloads: readonly Workload[], services: readonly Service[]): boolean {
    const [ownWorkloads, ownServices] = this.#sources
    return haveSameElements(ownWorkloads, workloads) && haveSameElements(ownServices, services)
  }

  workloadByUid(uid: string): Workload | undefined {
    return this.#workloadByUid.get(uid)
  }

  workloadByIp(network: string, ip: string): Workload | undefined {
    return this.#workloadByIp.get(`${network}/${ip}`)
  }

  workloadByHost(namespace: string, hostname: string): Workload | undefined {
    return this.#workloadsByHost.get(`${namespace}/${hostname}`)?.[0]
  }

  workloadsOfNamespace(namespace: string): readonly Workload[] {
    return this.#workloadsByNamespace.get(namespace) ?? []
  }

  serviceByKey(namespace: string, hostname: string): Service | undefined {
    return this.#serviceByKey.get(`${namespace}/${hostname}`)
  }

  serviceByVip(network: string, ip: string, clientNamespace: string): Service | undefined {
    const exact = bestService(this.#servicesByVip.get(`${network}/${ip}`), clientNamespace)
    return exact ?? this.#serviceByCidr(network, ip, clientNamespace)
  }

  serviceByHost(hostname: string, clientNamespace: string): Service | undefined {
    return bestService(this.#servicesByHost.get(hostname), clientNamespace)
  }

  endpointsOf(service: Service): readonly Endpoint[] {
    return this.#endpoints.get(serviceKey(service)) ?? []
  }

  #indexWorkload(workload: Workload): void {
    const { namespace, network } = workload
    // SPEC XDS §1.6: a host-network workload is never indexed by IP, it shares its node's.
    if (workload.networkMode === 'Standard') {
      for (const ip of workload.workloadIps) this.#workloadByIp.set(`${network}/${ip}`, workload)
    }
    if (workload.hostname !== '') append(this.#workloadsByHost, `${namespace}/${workload.hostname}`, workload)
    append(this.#workloadsByNamespace, namespace, workload)
    for (const [key, ports] of Object.entries(workload.services))
      append(this.#endpoints, key, { workload, ports })
  }

  #indexService(service: Service): void {
    for (const { network, ip } of service.vips) append(this.#servicesByVip, `${network}/${ip}`, service)
    append(this.#servicesByHost, service.hostname, service)
    for (const { network, cidr } of service.cidrVips) {
      const parsed = parseCidr(cidr)
      if (parsed !== undefined) this.#cidrVips.push({ network, cidr: parsed, service })
    }
  }

  // SPEC HBONE §4.1: ranges are ordered by (client namespace, prefix length, canonical).
  #serviceByCidr(network: string, ip: string, clientNamespace: string): Service | undefined {
    if (this.#cidrVips.length === 0) return undefined
    const bytes = ipToBytes(ip)
    if (bytes === undefined) return undefined
    let best: CidrVip | undefined
    let bestRank = -1
    for (const vip of this.#cidrVips) {
      if (vip.network !== network || !cidrContains(vip.cidr, bytes)) continue
      if (!isVisible(vip.service, clientNamespace)) continue
      const isOwn = vip.service.namespace === clientNamespace
      const rank = (isOwn ? 1024 : 0) + vip.cidr.prefixLength * 2 + (vip.service.canonical ? 1 : 0)
      if (rank <= bestRank) continue
      best = vip
      bestRank = rank
    }
    return best?.service
  }
}

/** True when clients of the namespace may resolve and reach the service. */
export function isVisible(service: Service, clientNamespace: string): boolean {
  return service.visibility === 'Public' || service.namespace === clientNamespace
}

// SPEC HBONE §4.1: visible ones only; the client's namespace, then canonical, then first seen.
function bestService(services: readonly Service[] | undefined, clientNamespace: string): Service | undefined {
  let best: Service | undefined
  for (const service of services ?? []) {
    if (!isVisible(service, clientNamespace)) continue
    if (service.namespace === clientNamespace) return service
    if (best === undefined || (service.canonical && !best.canonical)) best = service
  }
  return best
}

function haveSameElements<T>(left: readonly T[], right: readonly T[]): boolean {
  return left.length === right.length && left.every((each, index) => each === right[index])
}

function append<T>(index: Map<string, T[]>, key: string, value: T): void {
  const list = index.get(key)
  if (list === undefined) index.set(key, [value])
  else list.push(value)
}
