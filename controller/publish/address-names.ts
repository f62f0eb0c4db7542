// SPDX-License-Identifier: Apache-2.0
// What a client that asks for single addresses means by a name: a uid, `<namespace>/<hostname>` or `<network>/<ip>`, and
// what it needs besides: the endpoints of a service. SPEC XDS §1.5. Pure.

import { formatIp, ipToBytes } from '../../mesh/net/address.ts'
import { type Cidr, cidrContains, parseCidr } from '../../mesh/net/cidr.ts'
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
    const { members, servicesByAlias, workloadByAlias } = this.#indexes
    const workload = workloadByAlias.get(key)
    const found = services.has(key) ? [key] : [...(servicesByAlias.get(key) ?? []), ...this.#inRange(key)]
    // Which of several the client means depends on who calls: it gets all of them.
    return [
      ...found,
      ...found.flatMap((each) => members.get(each) ?? []),
      ...(workload === undefined ? [] : [workload]),
    ]
  }

  /** Services that answer for a range which the address is in. */
  #inRange(key: string): readonly string[] {
    const ranges = this.#indexes?.ranges ?? []
    if (ranges.length === 0) return []
    const slash = key.indexOf('/')
    const [network, bytes] = [key.slice(0, slash), ipToBytes(key.slice(slash + 1))]
    if (slash < 0 || bytes === undefined) return []
    return ranges
      .filter((each) => each.network === network && cidrContains(each.cidr, bytes))
      .map(({ service }) => service)
  }

  /** Uids of the workloads of a node. */
  ofNode(node: string): readonly string[] {
    this.#indexes ??= index(this.#sets)
    return this.#indexes.byNode.get(node) ?? []
  }
}

interface Indexes {
  readonly workloadByAlias: ReadonlyMap<string, string>
  readonly servicesByAlias: ReadonlyMap<string, readonly string[]>
  readonly ranges: readonly { readonly network: string; readonly cidr: Cidr; readonly service: string }[]
  readonly members: ReadonlyMap<string, readonly string[]>
  readonly byNode: ReadonlyMap<string, readonly string[]>
}

function index({ workloads, services }: AddressSets): Indexes {
  const workloadByAlias = new Map<string, string>()
  const servicesByAlias = new Map<string, string[]>()
  const ranges: { network: string; cidr: Cidr; service: string }[] = []
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
  for (const [key, service] of services) {
    for (const alias of serviceAliases(service)) append(servicesByAlias, alias, key)
    for (const { network, address, length } of service.addresses) {
      if (length === undefined || length === address.length * 8) continue
      const cidr = parseCidr(`${formatIp(address)}/${length}`)
      if (cidr !== undefined) ranges.push({ network, cidr, service: key })
    }
  }
  return { workloadByAlias, servicesByAlias, ranges, members, byNode }
}
