// SPDX-License-Identifier: Apache-2.0
// WorkloadEntries: machines outside the cluster. One with a node of ours (label sidestep.dev/node) has a ztunnel.

import { create } from '@bufbuild/protobuf'
import { isNativeTunnel } from '../../mesh/model/enrolment.ts'
import {
  TunnelProtocol,
  WorkloadSchema,
  WorkloadStatus,
  WorkloadType,
} from '../../proto/generated/istio/workload_pb.js'
import type { ConfigObject } from '../watch/config-object.ts'
import { readEndpointAddress, readPortMap } from './endpoint-address.ts'
import { modeOf } from './enrolment.ts'
import { Fields } from './fields.ts'
import { labelOf, parseLocality } from './locality.ts'
import { type LabelNames, labelsExtension } from './named-labels.ts'
import { Notes } from './notes.ts'
import { canonicalName, canonicalRevision } from './owner.ts'
import type { Labels } from './selectors.ts'
import { MAX_PORT, type ServiceInfo } from './service-info.ts'
import type { TranslateSettings } from './translation.ts'
import type { Waypoints } from './waypoints.ts'
import {
  membershipsOf,
  noteUnreachable,
  type WorkloadPart,
  type WorkloadWaypoint,
  wireTrustDomain,
} from './workload-parts.ts'

/** Names the node whose ztunnel serves the machine. */
export const NODE_LABEL = 'sidestep.dev/node'

const MAX_WEIGHT = 2 ** 31 - 1

/** Everything besides the entry that its workload says. */
export interface EntrySurroundings {
  readonly services: readonly ServiceInfo[]
  readonly policies: readonly string[]
  /** Keys of its services that nobody reaches it by: it is behind a waypoint that they do not have. */
  readonly unreachable: readonly string[]
  readonly waypoint: WorkloadWaypoint | null
  readonly named: LabelNames
}

/** What selectors see: labels of the entry and of its spec; the spec's count. */
export function entryLabels(entry: ConfigObject): Labels {
  const spec = new Fields(entry.spec, 'spec', new Notes(entry))
  return { ...entry.metadata.labels, ...Object.fromEntries(spec.textMap('labels')) }
}

/** The uid of an entry's workload. */
export function entryUid(
  { clusterId }: Pick<TranslateSettings, 'clusterId'>,
  { metadata }: ConfigObject,
): string {
  return `${clusterId}/networking.istio.io/WorkloadEntry/${metadata.namespace}/${metadata.name}`
}

export function entryWorkload(
  entry: ConfigObject,
  labels: Labels,
  around: EntrySurroundings,
  settings: TranslateSettings,
  waypoints: Waypoints,
): WorkloadPart {
  const notes = new Notes(entry)
  const { name, namespace } = entry.metadata
  const spec = new Fields(entry.spec, 'spec', notes)
  spec.textMap('labels')
  const where = readEndpointAddress(spec, true)
  if (where === null) return { workload: null, findings: notes.findings }
  const node = labelOf(labels, [NODE_LABEL])
  const isNative = isNativeTunnel(labels)
  const mode = modeOf(entry, notes)
  const ports = readPortMap(spec, MAX_PORT)
  const weight = spec.integer('weight', 0, MAX_WEIGHT) ?? 0
  const locality = parseLocality(spec.text('locality'))
  const waypoint = around.waypoint?.binding.address ?? null
  if (around.waypoint !== null) {
    waypoints.note(around.waypoint.binding, notes, around.waypoint.request.isInherited)
  }
  noteUnreachable(around.unreachable, notes)
  // A machine is in the mesh when something on it speaks HBONE: its namespace's label does not make it so.
  const isEnrolled = isNative || (mode === undefined ? node !== '' : mode === 'ambient')
  const workload = create(WorkloadSchema, {
    uid: entryUid(settings, entry),
    name,
    namespace,
    ...where,
    network: spec.text('network') || labelOf(labels, ['topology.istio.io/network']) || settings.network,
    tunnelProtocol: isEnrolled ? TunnelProtocol.HBONE : TunnelProtocol.NONE,
    nativeTunnel: isNative,
    trustDomain: wireTrustDomain(settings),
    serviceAccount: spec.text('serviceAccount') || 'default',
    ...(waypoint === null ? {} : { waypoint }),
    node,
    canonicalName: canonicalName(labels, name),
    canonicalRevision: canonicalRevision(labels),
    workloadType: WorkloadType.POD,
    workloadName: name,
    services: membershipsOf(around.services, namedPortsIn(ports), notes),
    authorizationPolicies: [...around.policies],
    status: isHealthy(entry, notes) ? WorkloadStatus.HEALTHY : WorkloadStatus.UNHEALTHY,
    clusterId: settings.clusterId,
    ...(locality === undefined ? {} : { locality }),
    ...(weight === 0 ? {} : { capacity: weight }),
    extensions: [...labelsExtension(labels, around.named)],
  })
  return { workload, findings: notes.findings }
}

function namedPortsIn(ports: ReadonlyMap<string, number>) {
  return () =>
    ({ name, targetPort }: { name: string; targetPort: number | string }): number | undefined =>
      ports.get(name) ?? (typeof targetPort === 'string' ? ports.get(targetPort) : undefined)
}

function isHealthy(entry: ConfigObject, notes: Notes): boolean {
  if (entry.metadata.isDeleting) return false
  const conditions = new Fields(entry.status, 'status', notes).items('conditions')
  return !conditions.some((each) => each.raw('type') === 'Healthy' && each.raw('status') === 'False')
}
