// SPDX-License-Identifier: Apache-2.0
// The whole configuration with its indexes. Immutable; a change makes the next one with a higher version, which shares
// what did not change. Lives once, in the main thread. Look-up rules: SPEC HBONE §4.1.
import { AddressIndex, type Endpoint } from './address-index.ts'
import { type Policy, policyKey } from './policy.ts'
import type { Service } from './service.ts'
import type { GatewayAddress, Workload } from './workload.ts'

/** What a configuration source delivers. */
export interface MeshConfig {
  readonly workloads: readonly Workload[]
  readonly services: readonly Service[]
  readonly policies: readonly Policy[]
}

/** One version of the configuration. */
export class MeshState implements MeshConfig {
  readonly version: number
  readonly policies: readonly Policy[]
  readonly #addresses: AddressIndex
  readonly #policyByKey = new Map<string, Policy>()
  readonly #globalPolicies: Policy[] = []
  readonly #policiesByNamespace = new Map<string, Policy[]>()

  /** Builds every index; those of `previous` stay when they would be the same. Of two things with one key the later counts. */
  constructor(config: MeshConfig, version: number, previous: MeshState | null = null) {
    this.version = version
    const { workloads, services } = config
    const known = previous === null ? null : previous.#addresses
    this.#addresses = known?.isOf(workloads, services) ? known : new AddressIndex(workloads, services)
    for (const policy of config.policies) this.#policyByKey.set(policyKey(policy), policy)
    this.policies = [...this.#policyByKey.values()]
    for (const policy of this.policies) {
      if (policy.scope === 'Global') this.#globalPolicies.push(policy)
      else if (policy.scope === 'Namespace') {
        const list = this.#policiesByNamespace.get(policy.namespace)
        if (list === undefined) this.#policiesByNamespace.set(policy.namespace, [policy])
        else list.push(policy)
      }
    }
  }

  get workloads(): readonly Workload[] {
    return this.#addresses.workloads
  }

  get services(): readonly Service[] {
    return this.#addresses.services
  }

  /** Workloads and services that name a waypoint. */
  get behindWaypoints(): AddressIndex['behindWaypoints'] {
    return this.#addresses.behindWaypoints
  }

  /** True when workloads and services are the very same. */
  hasAddressesOf(other: MeshState): boolean {
    return this.#addresses === other.#addresses
  }

  workloadByUid(uid: string): Workload | undefined {
    return this.#addresses.workloadByUid(uid)
  }

  /** Never a `HostNetwork` workload. */
  workloadByIp(network: string, ip: string): Workload | undefined {
    return this.#addresses.workloadByIp(network, ip)
  }

  workloadByHost(namespace: string, hostname: string): Workload | undefined {
    return this.#addresses.workloadByHost(namespace, hostname)
  }

  workloadsOfNamespace(namespace: string): readonly Workload[] {
    return this.#addresses.workloadsOfNamespace(namespace)
  }

  /** A proxy's own workload: SPEC HBONE §0.6, equality of all three. */
  ownWorkload(namespace: string, name: string, serviceAccount: string): Workload | undefined {
    return this.workloadsOfNamespace(namespace).find(
      (workload) => workload.name === name && workload.serviceAccount === serviceAccount,
    )
  }

  serviceByKey(namespace: string, hostname: string): Service | undefined {
    return this.#addresses.serviceByKey(namespace, hostname)
  }

  /** The service a client of `clientNamespace` means by an address: exact VIPs first, then ranges. */
  serviceByVip(network: string, ip: string, clientNamespace: string): Service | undefined {
    return this.#addresses.serviceByVip(network, ip, clientNamespace)
  }

  /** The service a client of `clientNamespace` means by a host name (lower case). */
  serviceByHost(hostname: string, clientNamespace: string): Service | undefined {
    return this.#addresses.serviceByHost(hostname, clientNamespace)
  }

  /** Members of a service, healthy or not, in the order of the configuration. */
  endpointsOf(service: Service): readonly Endpoint[] {
    return this.#addresses.endpointsOf(service)
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
}
