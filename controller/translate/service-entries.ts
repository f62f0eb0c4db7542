// SPDX-License-Identifier: Apache-2.0
// ServiceEntries: hosts that Kubernetes does not know. Each host becomes a service. Their inline endpoints are in
// service-entry-endpoints.ts.
import type { MessageInitShape } from '@bufbuild/protobuf'
import { formatIp, ipToBytes } from '../../mesh/net/address.ts'
import { parseCidr } from '../../mesh/net/cidr.ts'
import {
  LoadBalancing_HealthPolicy as HealthPolicy,
  IPFamilies,
  LoadBalancing_Mode as Mode,
  type NetworkAddressSchema,
  type Visibility,
} from '../../proto/generated/istio/workload_pb.js'
import type { ConfigObject } from '../watch/config-object.ts'
import { appProtocolOf } from './app-protocol.ts'
import { Fields } from './fields.ts'
import { Notes, quote } from './notes.ts'
import { readPlainSelector } from './selectors.ts'
import { MAX_PORT, type ServiceInfo, type ServicePort } from './service-info.ts'
import type { ServiceFacts } from './services.ts'
import { visibilityOf } from './services.ts'
import type { ConfigFinding } from './translation.ts'

const RESOLUTIONS = ['NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS'] as const
const AUTO_LABEL = 'networking.istio.io/enable-autoallocate-ip'
const HOST =
  /^(?:\*\.)?(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/

export type Resolution = 'NONE' | 'STATIC' | 'DNS'
type Address = MessageInitShape<typeof NetworkAddressSchema>

/** What a ServiceEntry says, without what others add to it. */
export interface EntryFacts {
  readonly object: ConfigObject
  /** One per host. */
  readonly infos: readonly ServiceInfo[]
  readonly resolution: Resolution
  /** Of the spec, for every host. */
  readonly addresses: readonly Address[]
  /** Of the status, by host; '' holds for every host. */
  readonly allocated: ReadonlyMap<string, readonly Address[]>
  /** Whether hosts without address get one. */
  readonly wantsAuto: boolean
  readonly visibility: Visibility
  readonly subjectAltNames: readonly string[]
  readonly findings: readonly ConfigFinding[]
}

export function readServiceEntry(object: ConfigObject, network: string): EntryFacts {
  const notes = new Notes(object)
  const { name, namespace, labels } = object.metadata
  const spec = new Fields(object.spec, 'spec', notes)
  const resolution = resolutionOf(spec)
  const ports = spec.items('ports').flatMap(readPort)
  const workloadSelector = spec.fields('workloadSelector')
  const hasSelector = spec.raw('workloadSelector') !== undefined
  const selector = readPlainSelector(workloadSelector, 'labels')
  if (hasSelector && spec.list('endpoints').length > 0) {
    const message = 'endpoints and workloadSelector exclude each other; both are used'
    notes.add('CONTRADICTION', 'spec.workloadSelector', message, 'remove one of them')
  }
  const hosts = new Set(spec.texts('hosts').flatMap((host) => readHost(host, notes)))
  const infos = [...hosts].map((hostname): ServiceInfo => {
    return { key: `${namespace}/${hostname}`, name, namespace, hostname, object, ports, selector }
  })
  return {
    object,
    infos,
    resolution,
    addresses: spec.texts('addresses').flatMap(({ text, path }) => readAddress(text, path, network, notes)),
    allocated: allocatedOf(new Fields(object.status, 'status', notes), network),
    wantsAuto: resolution !== 'NONE' && labels[AUTO_LABEL] !== 'false',
    visibility: visibilityOf(
      spec.texts('exportTo').map(({ text }) => text),
      namespace,
      'spec.exportTo',
      notes,
    ),
    subjectAltNames: spec.texts('subjectAltNames').map(({ text }) => text),
    findings: notes.findings,
  }
}

/** The addresses of one host that the entry itself gives; empty when it gives none. */
export function ownAddresses(entry: EntryFacts, hostname: string): readonly Address[] {
  if (entry.addresses.length > 0) return entry.addresses
  return entry.allocated.get(hostname) ?? entry.allocated.get('') ?? []
}

/** True when an address is to be found for a host. */
export function needsAddress(entry: EntryFacts, hostname: string): boolean {
  return entry.wantsAuto && !hostname.startsWith('*') && ownAddresses(entry, hostname).length === 0
}

/** One host with its addresses, as services.ts wants it. */
export function entryServiceFacts(
  entry: EntryFacts,
  info: ServiceInfo,
  auto: string | undefined,
  network: string,
): ServiceFacts {
  const address = auto === undefined ? undefined : ipToBytes(auto)
  return {
    info,
    addresses: address === undefined ? [...ownAddresses(entry, info.hostname)] : [{ network, address }],
    // SPEC HBONE §9.1: who asks for an address behind the host is sent there.
    balancing:
      entry.resolution === 'NONE'
        ? { routingPreference: [], mode: Mode.PASSTHROUGH, healthPolicy: HealthPolicy.ALLOW_ALL }
        : undefined,
    ipFamilies: IPFamilies.AUTOMATIC,
    isCanonical: false,
    visibility: entry.visibility,
    subjectAltNames: [...entry.subjectAltNames],
  }
}

/** Canonical texts of single addresses. */
export function hostAddresses(addresses: readonly Address[]): string[] {
  return addresses.flatMap(({ address, length }) => {
    const isHost = address !== undefined && (length === undefined || length === address.length * 8)
    return isHost ? [formatIp(address) ?? ''] : []
  })
}

function resolutionOf(spec: Fields): Resolution {
  const resolution = spec.oneOf('resolution', RESOLUTIONS, 'NONE')
  if (resolution === 'DNS_ROUND_ROBIN') return 'DNS'
  if (resolution !== 'DYNAMIC_DNS') return resolution
  const message = 'names that a client chooses are not resolved; the traffic goes where it was sent'
  spec.notes.add('FIELD_NOT_SERVED', 'spec.resolution', message, 'write the hosts with resolution DNS')
  return 'NONE'
}

function readHost({ text, path }: { text: string; path: string }, notes: Notes): string[] {
  const host = text.toLowerCase()
  if (HOST.test(host)) return [host]
  notes.add('INVALID_VALUE', path, `${quote(text)} is no host name`, 'write a DNS name, or *. and one')
  return []
}

function readAddress(text: string, path: string, network: string, notes: Notes): Address[] {
  const cidr = parseCidr(text)
  if (cidr === undefined) {
    notes.add('INVALID_VALUE', path, `${quote(text)} is no address`, 'write an IP address or a range')
    return []
  }
  const isHost = cidr.prefixLength === cidr.bytes.length * 8
  return [{ network, address: cidr.bytes, ...(isHost ? {} : { length: cidr.prefixLength }) }]
}

function allocatedOf(status: Fields, network: string): ReadonlyMap<string, readonly Address[]> {
  const byHost = new Map<string, Address[]>()
  for (const each of status.items('addresses')) {
    const address = ipToBytes(each.text('value'))
    if (address === undefined) continue // another controller's status: ours is to give an address ourselves
    const host = each.text('host').toLowerCase()
    const list = byHost.get(host) ?? []
    list.push({ network, address })
    byHost.set(host, list)
  }
  return byHost
}

function readPort(port: Fields): ServicePort[] {
  const protocol = port.text('protocol')
  if (protocol.toUpperCase() === 'UDP') return [] // the mesh carries TCP
  const servicePort = port.integer('number', 1, MAX_PORT)
  if (servicePort === undefined) return []
  const name = port.text('name')
  const targetPort = port.integer('targetPort', 0, MAX_PORT) || servicePort
  return [{ name, servicePort, targetPort, appProtocol: appProtocolOf(protocol, name) }]
}
