// SPDX-License-Identifier: Apache-2.0
// EndpointSlices of services that have no selector: endpoints that are pods of ours make those pods members, all others
// are workloads without identity. SPEC HBONE §9.1. (What a selector says needs no slice.)
import { create, equals } from '@bufbuild/protobuf'
import { ipToBytes } from '../../mesh/net/address.ts'
import {
  type AppProtocol,
  NetworkMode,
  type Workload,
  WorkloadSchema,
  WorkloadStatus,
} from '../../proto/generated/istio/workload_pb.js'
import type { ConfigObject } from '../watch/config-object.ts'
import { Fields } from './fields.ts'
import { type LocalityText, parseLocality } from './locality.ts'
import { Notes, quote } from './notes.ts'
import { MAX_PORT, type ServiceInfo } from './service-info.ts'
import type { ConfigFinding, TranslateSettings } from './translation.ts'
import { wireTrustDomain } from './workload-parts.ts'

/** Names the Service that a slice belongs to. */
export const SERVICE_NAME_LABEL = 'kubernetes.io/service-name'

interface SlicePort {
  readonly servicePort: number
  readonly targetPort: number
  readonly appProtocol: AppProtocol
}

/** A pod that a slice names. */
export interface SliceMember {
  readonly info: ServiceInfo
  readonly ports: readonly SlicePort[]
}

export interface SlicePart {
  /** By name of the pod, in the namespace of the slice. */
  readonly members: ReadonlyMap<string, SliceMember>
  readonly workloads: readonly Workload[]
  readonly findings: readonly ConfigFinding[]
}

/** Endpoints that say the same stay the old objects, although the slice they stand in is another. */
export function keepEqualSlice(old: SlicePart, fresh: SlicePart): SlicePart {
  const byUid = new Map(old.workloads.map((each) => [each.uid, each]))
  const workloads = fresh.workloads.map((each) => {
    const before = byUid.get(each.uid)
    return before !== undefined && equals(WorkloadSchema, before, each) ? before : each
  })
  return { ...fresh, workloads }
}

/** Reads one slice. `localityOf` knows the nodes. */
export function readSlice(
  slice: ConfigObject,
  info: ServiceInfo,
  settings: TranslateSettings,
  localityOf: (node: string) => LocalityText,
): SlicePart {
  const notes = new Notes(slice)
  const rest = new Fields(slice.rest, '', notes)
  const ports = portsOf(rest, info)
  const members = new Map<string, SliceMember>()
  const workloads = new Map<string, Workload>()
  const addressType = rest.text('addressType', 'IPv4')
  if (addressType !== 'IPv4' && addressType !== 'IPv6') {
    const message = `endpoints of type ${quote(addressType)} are not served`
    notes.add('FIELD_NOT_SERVED', 'addressType', message, 'write a ServiceEntry with resolution DNS')
    return { members, workloads: [], findings: notes.findings }
  }
  const member: SliceMember = { info, ports }
  for (const endpoint of rest.items('endpoints')) {
    const target = endpoint.fields('targetRef')
    // SPEC discovery.k8s.io/v1: a condition that is not set counts as true.
    const isReady = endpoint.fields('conditions').raw('ready') !== false
    if (target.raw('kind') === 'Pod') {
      // What the pod is, its own object says; not being ready for this service is not being a member of it.
      if (isReady || info.object.spec.publishNotReadyAddresses === true)
        members.set(target.text('name'), member)
      continue
    }
    for (const workload of endpointWorkloads(endpoint, isReady, {
      slice,
      info,
      ports,
      settings,
      localityOf,
    })) {
      workloads.set(workload.uid, workload)
    }
  }
  return { members, workloads: [...workloads.values()], findings: notes.findings }
}

interface Surroundings {
  readonly slice: ConfigObject
  readonly info: ServiceInfo
  readonly ports: readonly SlicePort[]
  readonly settings: TranslateSettings
  readonly localityOf: (node: string) => LocalityText
}

function endpointWorkloads(endpoint: Fields, isReady: boolean, around: Surroundings): Workload[] {
  const { slice, info, ports, settings } = around
  const { name, namespace } = slice.metadata
  const node = endpoint.text('nodeName')
  const zone = endpoint.text('zone')
  const locality = parseLocality(around.localityOf(node) || `/${zone}`)
  return endpoint.texts('addresses').flatMap(({ text, path }) => {
    const address = ipToBytes(text)
    if (address === undefined) {
      endpoint.notes.add('INVALID_VALUE', path, `${quote(text)} is no address`, 'write an IP address')
      return []
    }
    return create(WorkloadSchema, {
      uid: `${settings.clusterId}/discovery.k8s.io/EndpointSlice/${namespace}/${name}/${text}`,
      name,
      namespace,
      addresses: [address],
      network: settings.network,
      // Its address may be anybody's: it is an endpoint and never found by its address.
      networkMode: NetworkMode.HOST_NETWORK,
      trustDomain: wireTrustDomain(settings),
      node,
      clusterId: settings.clusterId,
      services: { [info.key]: { ports: [...ports] } },
      status: isReady ? WorkloadStatus.HEALTHY : WorkloadStatus.UNHEALTHY,
      ...(locality === undefined ? {} : { locality }),
    })
  })
}

function portsOf(rest: Fields, info: ServiceInfo): SlicePort[] {
  const byName = new Map<string, number>()
  for (const port of rest.items('ports')) {
    const number = port.integer('port', 1, MAX_PORT)
    if (number === undefined || port.text('protocol', 'TCP') !== 'TCP') continue
    byName.set(port.text('name'), number)
  }
  return info.ports.flatMap(({ name, servicePort, appProtocol }) => {
    const targetPort = byName.get(name)
    return targetPort === undefined ? [] : [{ servicePort, targetPort, appProtocol }]
  })
}
