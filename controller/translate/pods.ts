// SPDX-License-Identifier: Apache-2.0
// Pods. SPEC HBONE §9.1, "Pod → Workload".
import { create } from '@bufbuild/protobuf'
import { ipToBytes } from '../../mesh/net/address.ts'
import {
  NetworkMode,
  TunnelProtocol,
  WorkloadSchema,
  WorkloadStatus,
} from '../../proto/generated/istio/workload_pb.js'
import type { ConfigObject } from '../watch/config-object.ts'
import type { SliceMember } from './endpoint-slices.ts'
import { enrolmentOf } from './enrolment.ts'
import { Fields } from './fields.ts'
import { type LocalityText, labelOf, parseLocality } from './locality.ts'
import { type LabelNames, labelsExtension } from './named-labels.ts'
import { Notes, quote } from './notes.ts'
import { canonicalName, canonicalRevision, ownerOf } from './owner.ts'
import { type SameNodeVerdict, sameNodeExtensions } from './same-node.ts'
import { MAX_PORT, type ServiceInfo } from './service-info.ts'
import type { TranslateSettings } from './translation.ts'
import type { Tunnel, Waypoints } from './waypoints.ts'
import {
  membershipsOf,
  noteUnreachable,
  type ServicePorts,
  type WorkloadPart,
  type WorkloadWaypoint,
  wireTrustDomain,
} from './workload-parts.ts'

/** Everything besides the pod that its workload says. */
export interface PodSurroundings {
  readonly namespace: ConfigObject | undefined
  readonly locality: LocalityText
  /** That select it. */
  readonly services: readonly ServiceInfo[]
  /** That name it in an EndpointSlice. */
  readonly slices: readonly SliceMember[]
  /** `<namespace>/<name>` of the policies that it names, in order. */
  readonly policies: readonly string[]
  /** Keys of its services that nobody reaches it by: it is behind a waypoint that they do not have. */
  readonly unreachable: readonly string[]
  readonly waypoint: WorkloadWaypoint | null
  readonly tunnel: Tunnel | undefined
  readonly sameNode: SameNodeVerdict
  readonly named: LabelNames
}

const FINISHED = ['Succeeded', 'Failed']

/** The name of a pod's node, '' when it has none. */
export function nodeOf(pod: ConfigObject): string {
  return typeof pod.spec.nodeName === 'string' ? pod.spec.nodeName : ''
}

/** The uid of a pod's workload. */
export function podUid(
  { clusterId }: Pick<TranslateSettings, 'clusterId'>,
  { metadata }: ConfigObject,
): string {
  return `${clusterId}//Pod/${metadata.namespace}/${metadata.name}`
}

export function podWorkload(
  pod: ConfigObject,
  around: PodSurroundings,
  settings: TranslateSettings,
  waypoints: Waypoints,
): WorkloadPart {
  const notes = new Notes(pod)
  const { name, namespace, labels } = pod.metadata
  const spec = new Fields(pod.spec, 'spec', notes)
  const status = new Fields(pod.status, 'status', notes)
  const addresses = addressesOf(status)
  if (FINISHED.includes(status.text('phase')) || addresses.length === 0) {
    return { workload: null, findings: notes.findings }
  }
  const isHostNetwork = spec.flag('hostNetwork')
  const { isEnrolled, isNativeTunnel } = enrolmentOf(
    pod,
    { namespace: around.namespace, isHostNetwork },
    settings,
    notes,
  )
  const owner = ownerOf(pod)
  const locality = parseLocality(around.locality)
  const waypoint = around.waypoint?.binding.address ?? null
  if (around.waypoint !== null) {
    waypoints.note(around.waypoint.binding, notes, around.waypoint.request.isInherited)
  }
  noteUnreachable(around.unreachable, notes)
  const workload = create(WorkloadSchema, {
    uid: podUid(settings, pod),
    name,
    namespace,
    addresses,
    network: labelOf(labels, ['topology.istio.io/network']) || settings.network,
    tunnelProtocol: isEnrolled ? TunnelProtocol.HBONE : TunnelProtocol.NONE,
    nativeTunnel: isNativeTunnel,
    trustDomain: wireTrustDomain(settings),
    serviceAccount: spec.text('serviceAccountName') || 'default',
    ...(waypoint === null ? {} : { waypoint }),
    ...(around.tunnel === undefined ? {} : { applicationTunnel: around.tunnel }),
    node: nodeOf(pod),
    canonicalName: canonicalName(labels, owner.name),
    canonicalRevision: canonicalRevision(labels),
    workloadType: owner.type,
    workloadName: owner.name,
    services: servicesOf(spec, around, notes),
    authorizationPolicies: [...around.policies],
    status: isReady(pod, status) ? WorkloadStatus.HEALTHY : WorkloadStatus.UNHEALTHY,
    clusterId: settings.clusterId,
    networkMode: isHostNetwork ? NetworkMode.HOST_NETWORK : NetworkMode.STANDARD,
    ...(locality === undefined ? {} : { locality }),
    extensions: [
      ...sameNodeExtensions(around.sameNode, pod, isEnrolled, notes),
      ...labelsExtension(labels, around.named),
    ],
  })
  return { workload, findings: notes.findings }
}

/** Ports with a name, by name. Also those of init containers that stay: Kubernetes' own sidecars. */
export function namedPortsOf(pod: ConfigObject): ReadonlyMap<string, number> {
  return readNamedPorts(new Fields(pod.spec, 'spec', new Notes(pod)))
}

function servicesOf(spec: Fields, around: PodSurroundings, notes: Notes): ServicePorts {
  const named = readNamedPorts(spec)
  const selected = membershipsOf(
    around.services,
    () =>
      ({ targetPort }) =>
        typeof targetPort === 'string' ? named.get(targetPort) : undefined,
    notes,
  )
  for (const { info, ports } of around.slices) selected[info.key] ??= { ports: [...ports] }
  return selected
}

function addressesOf(status: Fields): Uint8Array[] {
  const listed = status.items('podIPs').map((each) => ({ text: each.text('ip'), path: each.pathOf('ip') }))
  const all = listed.length > 0 ? listed : [{ text: status.text('podIP'), path: 'status.podIP' }]
  return all.flatMap(({ text, path }) => {
    const address = text === '' ? undefined : ipToBytes(text)
    if (text !== '' && address === undefined) {
      status.notes.add('INVALID_VALUE', path, `${quote(text)} is no address`, 'write an IP address')
    }
    return address === undefined ? [] : [address]
  })
}

function isReady(pod: ConfigObject, status: Fields): boolean {
  if (pod.metadata.isDeleting) return false
  return status
    .items('conditions')
    .some((each) => each.raw('type') === 'Ready' && each.raw('status') === 'True')
}

function readNamedPorts(spec: Fields): ReadonlyMap<string, number> {
  const lasting = spec.items('initContainers').filter((each) => each.raw('restartPolicy') === 'Always')
  const ports = new Map<string, number>()
  for (const container of [...spec.items('containers'), ...lasting]) {
    for (const port of container.items('ports')) {
      const name = port.text('name')
      const number = port.integer('containerPort', 1, MAX_PORT)
      if (name === '' || number === undefined || port.text('protocol', 'TCP') !== 'TCP') continue
      if (!ports.has(name)) ports.set(name, number)
    }
  }
  return ports
}
