// SPDX-License-Identifier: Apache-2.0
// The whole configuration with its indexes: by uid, IP, VIP, host, identity, namespace. Immutable; a change builds
// the next one with a higher version. Lives once, in the main thread. Look-up rules: SPEC HBONE §4.1.
import { ipToBytes } from '../net/address.ts'
import { type Cidr, cidrContains, parseCidr } from '../net/cidr.ts'
import { type Policy, policyKey } from './policy.ts'
import { type Service, serviceKey } from './service.ts'
import { type GatewayAddress, identityOf, type PortMap, type Workload } from './workload.ts'

/** What a configuration source delivers. */
export interface MeshConfig {
  readonly workloads: readonly Workload[]
  readonly services: readonly Service[]
  readonly policies: readonly Policy[]
}

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

/** One version of the configuration. */
export class MeshState implements MeshConfig {
  readonly version: number
  readonly workloads: readonly Workload[]
  readonly services: readonly Service[]
  readonly policies: readonly Policy[]
  readonly #workloadByUid = new Map<string, Workload>()
  readonly #workloadByIp = new Map<string, Workload>()
  readonly #workloadsByHost = new Map<string, Workload[]>()
  readonly #workloadsByIdentity = new Map<string, Workload[]>()
  readonly #workloadsByNamespace = new Map<string, Workload[]>()
  readonly #serviceByKey = new Map<string, Service>()
  readonly #servicesByVip = new Map<string, Service[]>()
  readonly #servicesByHost = new Map<string, Service[]>()
  readonly #cidrVips: CidrVip[] = []
  readonly #endpoints = new Map<string, Endpoint[]>()
  readonly #policyByKey = new Map<string, Policy>()
  readonly #globalPolicies: Policy[] = []
  readonly #policiesByNamespace = new Map<string, Policy[]>()

  /** Builds every index. Of two things with one key the later counts. */
  constructor(config: MeshConfig, version: number) {
    this.version = version
    for (const workload of config.workloads) this.#workloadByUid.set(workload.uid, workload)
    for (const service of config.services) this.#serviceByKey.set(serviceKey(service), service)
    for (const policy of config.policies) this.#policyByKey.set(policyKey(policy), policy)
    this.workloads = [...this.#workloadByUid.values()]
    this.services = [...this.#serviceByKey.values()]
    this.policies = [...this.#policyByKey.values()]
    for (const workload of this.workloads) this.#indexWorkload(workload)
    for (const service of this.services) this.#indexService(service)
    for (const policy of this.policies) {
      if (policy.scope === 'Global') this.#globalPolicies.push(policy)
      else if (policy.scope === 'Namespace') append(this.#policiesByNamespace, policy.namespace, policy)
    }
  }

  workloadByUid(uid: string): Workload | undefined {
    return this.#workloadByUid.get(uid)
  }

  /** Never a `HostNetwork` workload. */
  workloadByIp(network: string, ip: string): Workload | undefined {
    return this.#workloadByIp.get(`${network}/${ip}`)
  }

  workloadByHost(namespace: string, hostname: string): Workload | undefined {
    return this.#workloadsByHost.get(`${namespace}/${hostname}`)?.[0]
  }

  workloadsByIdentity(identity: string): readonly Workload[] {
    return this.#workloadsByIdentity.get(identity) ?? []
  }

  workloadsOfNamespace(namespace: string): readonly Workload[] {
    return this.#workloadsByNamespace.get(namespace) ?? []
  }

  /** A proxy's own workload: SPEC HBONE §0.6, equality of all three. */
  ownWorkload(namespace: string, name: string, serviceAccount: string): Workload | undefined {
    return this.workloadsOfNamespace(namespace).find(
      (workload) => workload.name === name && workload.serviceAccount === serviceAccount,
    )
  }

  serviceByKey(namespace: string, hostname: string): Service | undefined {
    return this.#serviceByKey.get(`${namespace}/${hostname}`)
  }

  /** The service a client of `clientNamespace` means by an address: exact VIPs first, then ranges. */
  serviceByVip(network: string, ip: string, clientNamespace: string): Service | undefined {
    const exact = bestService(this.#servicesByVip.get(`${network}/${ip}`), clientNamespace)
    return exact ?? this.#serviceByCidr(network, ip, clientNamespace)
  }

  /** The service a client of `clientNamespace` means by a host name (lower case). */
  serviceByHost(hostname: string, clientNamespace: string): Service | undefined {
    return bestService(this.#servicesByHost.get(hostname), clientNamespace)
  }

  /** Members of a service, healthy or not, in the order of the configuration. */
  endpointsOf(service: Service): readonly Endpoint[] {
    return this.#endpoints.get(serviceKey(service)) ?? []
  }

  /**
   * The policies that apply to a workload as destination: its namespace's, global ones and those it names.
   * Unknown names are skipped (SPEC HBONE §4.4).
   */
  policiesFor(workload: Workload): Policy[] {
    const found = new Set<Policy>(this.#policiesByNamespace.get(workload.namespace) ?? [])
    for (const policy of this.#globalPolicies) found.add(policy)
    for (const name of workload.authorizationPolicies) {
      const policy = this.#policyByKey.get(name)
      if (policy !== undefined) found.add(policy)
    }
    return [...found]
  }

  /** What a waypoint or gateway reference names: a service, else a workload, else nothing. */
  resolveGateway(gateway: GatewayAddress, clientNamespace: string): Service | Workload | undefined {
    const { destination } = gateway
    if (destination.kind === 'hostname') {
      const { namespace, hostname } = destination
      return this.serviceByKey(namespace, hostname) ?? this.workloadByHost(namespace, hostname)
    }
    const { network, ip } = destination
    return this.serviceByVip(network, ip, clientNamespace) ?? this.workloadByIp(network, ip)
  }

  #indexWorkload(workload: Workload): void {
    const { namespace, network } = workload
    // SPEC XDS §1.6: a host-network workload is never indexed by IP, it shares its node's.
    if (workload.networkMode === 'Standard') {
      for (const ip of workload.workloadIps) this.#workloadByIp.set(`${network}/${ip}`, workload)
    }
    if (workload.hostname !== '') append(this.#workloadsByHost, `${namespace}/${workload.hostname}`, workload)
    append(this.#workloadsByIdentity, identityOf(workload), workload)
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

function append<T>(index: Map<string, T[]>, key: string, value: T): void {
  const list = index.get(key)
  if (list === undefined) index.set(key, [value])
  else list.push(value)
}
