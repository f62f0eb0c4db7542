// SPDX-License-Identifier: Apache-2.0
// Which DNS questions the mesh answers, and how: services by their addresses, headless ones by those of their pods,
// named ports of services that have addresses. Everything else is forwarded. SPEC HBONE §8. Pure.
import type { Endpoint } from '../../mesh/model/address-index.ts'
import type { Service } from '../../mesh/model/service.ts'
import { ipToBytes } from '../../mesh/net/address.ts'
import { type DnsRecord, TYPE_A, TYPE_AAAA, TYPE_SRV } from './dns-message.ts'
import { type NameContext, nameCandidates } from './dns-names.ts'

/** Who asks. */
export interface DnsClient extends NameContext {
  /** Addresses of other networks mean nothing to it. */
  readonly network: string
}

/** What is known of services; visible ones only. */
export interface DnsDirectory {
  /** The best service of exactly that host for clients of the namespace. */
  serviceByHost(hostname: string, clientNamespace: string): Service | undefined
  endpointsOf(service: Service): readonly Endpoint[]
}

/** Answered with these records (none: the name exists, without addresses of that family), or not ours. */
export type DnsDecision =
  | { readonly kind: 'answer'; readonly records: readonly DnsRecord[]; readonly service: Service }
  | { readonly kind: 'forward' }

const FORWARD: DnsDecision = { kind: 'forward' }
/** Addresses of one answer: a client tries a few, and they are shuffled. */
const MAX_ADDRESSES = 64

/** Decides one question; `random` is uniform in [0, 1). */
export function decideDns(
  name: string,
  type: number,
  client: DnsClient,
  directory: DnsDirectory,
  random: () => number,
): DnsDecision {
  if (type === TYPE_SRV) return decideSrv(name, client, directory)
  if (type !== TYPE_A && type !== TYPE_AAAA) return FORWARD
  for (const candidate of nameCandidates(name, client)) {
    for (const host of candidate.hosts) {
      const service = directory.serviceByHost(host, client.namespace)
      if (service === undefined || !isResolvable(service, client)) continue
      const ips = shuffled(addressesOf(service, type, client, directory), random).slice(0, MAX_ADDRESSES)
      // Only what the search domain was taken off of is said to be another name; a wildcard stands for the name itself.
      const hasAlias = candidate.isStripped && host === candidate.name && host !== name
      const owner = hasAlias ? candidate.name : null
      const alias: readonly DnsRecord[] =
        hasAlias && ips.length > 0 ? [{ kind: 'CNAME', name: null, target: candidate.name }] : []
      const records = ips.map(
        (bytes): DnsRecord => ({ kind: type === TYPE_A ? 'A' : 'AAAA', name: owner, bytes }),
      )
      return { kind: 'answer', records: [...alias, ...records], service }
    }
  }
  return FORWARD
}

/** `_name._tcp.<service>`; a port that the mesh does not know is the resolver's to deny. SPEC RFC2782. */
function decideSrv(name: string, client: DnsClient, directory: DnsDirectory): DnsDecision {
  const match = /^(_([^.]+)\._tcp\.)(.+)$/.exec(name)
  const [prefix, portName, host] = [match?.[1], match?.[2], match?.[3]]
  if (prefix === undefined || portName === undefined || host === undefined) return FORWARD
  for (const candidate of nameCandidates(host, client)) {
    // A wildcard is no name that somebody could be sent to.
    const service = directory.serviceByHost(candidate.name, client.namespace)
    if (service === undefined || service.vips.length === 0) continue
    const port = Object.hasOwn(service.portNames, portName) ? service.portNames[portName] : undefined
    if (port === undefined) return FORWARD
    const target = service.hostname
    const hasAlias = candidate.isStripped && candidate.name !== host
    const owner = hasAlias ? `${prefix}${candidate.name}` : null
    const alias: readonly DnsRecord[] = owner === null ? [] : [{ kind: 'CNAME', name: null, target: owner }]
    const addresses = ([TYPE_A, TYPE_AAAA] as const).flatMap((type) =>
      addressesOf(service, type, client, directory).map(
        (bytes): DnsRecord => ({
          ...{ kind: type === TYPE_A ? 'A' : 'AAAA', name: target, bytes, isAdditional: true },
        }),
      ),
    )
    return {
      kind: 'answer',
      records: [...alias, { kind: 'SRV', name: owner, target, port }, ...addresses],
      service,
    }
  }
  return FORWARD
}

/** A service without addresses of its own is ours only when it is headless: Kubernetes would answer with its pods. */
function isResolvable(service: Service, { clusterDomain }: DnsClient): boolean {
  return service.vips.length > 0 || service.hostname.endsWith(`.svc.${clusterDomain}`)
}

function addressesOf(
  service: Service,
  type: number,
  { network }: DnsClient,
  directory: DnsDirectory,
): Uint8Array[] {
  const bytes = type === TYPE_A ? 4 : 16
  const families = service.ipFamilies
  if ((families === 'IPv4' && bytes === 16) || (families === 'IPv6' && bytes === 4)) return []
  const ofFamily = (ip: string): Uint8Array[] => {
    const parsed = ipToBytes(ip)
    return parsed !== undefined && parsed.length === bytes ? [parsed] : []
  }
  if (service.vips.length > 0)
    return service.vips.filter((vip) => vip.network === network).flatMap(({ ip }) => ofFamily(ip))
  return directory
    .endpointsOf(service)
    .filter(({ workload }) => workload.network === network && isHealthy(service, workload.status))
    .flatMap(({ workload }) => workload.workloadIps.flatMap(ofFamily).slice(0, 1))
}

function isHealthy(service: Service, status: 'Healthy' | 'Unhealthy'): boolean {
  return status === 'Healthy' || service.loadBalancer?.healthPolicy === 'AllowAll'
}

/** Fisher–Yates on a copy. */
function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const all = [...items]
  for (let last = all.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1))
    const [left, right] = [all[last], all[other]]
    if (left === undefined || right === undefined) continue
    all[last] = right
    all[other] = left
  }
  return all
}
