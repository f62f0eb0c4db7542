// SPDX-License-Identifier: Apache-2.0
// What a client that asks for single addresses means by a name: a uid, `<namespace>/<hostname>` or `<network>/<ip>`, and
// what it needs besides: the endpoints of a service. SPEC XDS §1.5. Pure.

import { formatIp } from '../../mesh/net/address.ts'
import type { Service, Workload } from '../../proto/generated/istio/workload_pb.js'
import type { NameResolver } from './subscription.ts'

export interface AddressSets {
  readonly workloads: ReadonlyMap<string, Workload>
  readonly services: ReadonlyMap<string, Service>
}

/** `<network>/<ip>`, or undefined when the bytes are no address. */
function addressAlias(network: string, address: Uint8Array): string | undefined {
  const ip = formatIp(address)
  return ip === undefined ? undefined : `${network}/${ip}`
}

export function workloadAliases(workload: Workload): string[] {
  return workload.addresses.flatMap((address) => addressAlias(workload.network, address) ?? [])
}

export function serviceAliases(service: Service): string[] {
  return service.addresses.flatMap(({ network, address, length }) => {
    const alias = addressAlias(network, address)
    if (alias === undefined) return []
    return length === undefined || length === address.length * 8 ? alias : `${alias}/${length}`
  })
}

/** Indexes of one version of the addresses, made when the first name is asked for. */
export class AddressNames implements NameResolver {
  #sets: AddressSets
  #indexes: Indexes | null = null

  constructor(sets: AddressSets) {
    this.#sets = sets
  }

  update(sets: AddressSets): void {
    this.#sets = sets
    this.#indexes = null
  }

  resolve(key: string): readonly string[] {
    const { workloads, services } = this.#sets
    if (workloads.has(key)) return [key]
    this.#indexes ??= index(this.#sets)
    const service = services.has(key) ? key : this.#indexes.serviceByAlias.get(key)
    if (service !== undefined) return [service, ...(this.#indexes.members.get(service) ?? [])]
    const workload = this.#indexes.workloadByAlias.get(key)
    return workload === undefined ? [] : [workload]
  }

  /** Uids of the workloads of a node. */
  ofNode(node: string): readonly string[] {
    this.#indexes ??= index(this.#sets)
    return this.#indexes.byNode.get(node) ?? []
  }
}

interface Indexes {
  readonly workloadByAlias: ReadonlyMap<string, string>
  readonly serviceByAlias: ReadonlyMap<string, string>
  readonly members: ReadonlyMap<string, readonly string[]>
  readonly byNode: ReadonlyMap<string, readonly string[]>
}

function index({ workloads, services }: AddressSets): Indexes {
  const workloadByAlias = new Map<string, string>()
  const serviceByAlias = new Map<string, string>()
  const members = new Map<string, string[]>()
  const byNode = new Map<string, string[]>()
  const append = (map: Map<string, string[]>, key: string, uid: string): void => {
    const list = map.get(key)
    if (list === undefined) map.set(key, [uid])
    else list.push(uid)
  }
  for (const [uid, workload] of workloads) {
    for (const alias of workloadAliases(workload)) workloadByAlias.set(alias, uid)
    for (const service of Object.keys(workload.services)) append(members, service, uid)
    if (workload.node !== '') append(byNode, workload.node, uid)
  }
  for (const [key, service] of services)
    for (const alias of serviceAliases(service)) serviceByAlias.set(alias, key)
  return { workloadByAlias, serviceByAlias, members, byNode }
}
