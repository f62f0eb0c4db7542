// SPDX-License-Identifier: Apache-2.0
// What pods, WorkloadEntries and inline endpoints have in common when they become workloads.
import { equals, type MessageInitShape } from '@bufbuild/protobuf'
import {
  type PortListSchema,
  type Workload,
  WorkloadSchema,
} from '../../proto/generated/istio/workload_pb.js'
import type { ConfigObject } from '../watch/config-object.ts'
import type { Notes } from './notes.ts'
import { quote } from './notes.ts'
import { type NamedPorts, resolvePorts, type ServiceInfo } from './service-info.ts'
import type { ConfigFinding, TranslateSettings } from './translation.ts'
import { requestedWaypoint, type WaypointRequest, waypointKey } from './waypoint-request.ts'
import { isMeantFor, type WaypointBinding, type Waypoints } from './waypoints.ts'

export type ServicePorts = Record<string, MessageInitShape<typeof PortListSchema>>

/** A workload with what is to be said about it; null: the object is none (finished, no address). */
export interface WorkloadPart {
  readonly workload: Workload | null
  readonly findings: readonly ConfigFinding[]
}

/** A workload that was made anew and says the same stays the old one: nobody has to hear of it. */
export function keepEqualWorkload(old: WorkloadPart, fresh: WorkloadPart): WorkloadPart {
  const isSame =
    old.workload !== null && fresh.workload !== null && equals(WorkloadSchema, old.workload, fresh.workload)
  return isSame ? { workload: old.workload, findings: fresh.findings } : fresh
}

/** The services a workload answers for, with its own ports; ports that it does not have are noted. */
export function membershipsOf(
  services: readonly ServiceInfo[],
  namedFor: (info: ServiceInfo) => NamedPorts,
  notes: Notes,
): ServicePorts {
  const found: ServicePorts = {}
  for (const info of services) {
    const { ports, missing } = resolvePorts(info, namedFor(info))
    found[info.key] = { ports }
    for (const { servicePort, targetPort } of missing) {
      const message = `the service ${info.key} sends port ${servicePort} to a port called ${quote(String(targetPort))}, which is not here`
      notes.add('TARGET_PORT_MISSING', 'spec', message, 'name the port, or mend targetPort')
    }
  }
  return found
}

/** SPEC XDS §1.6: empty means cluster.local, and istiod sends it so. */
export function wireTrustDomain({ trustDomain }: TranslateSettings): string {
  return trustDomain === 'cluster.local' ? '' : trustDomain
}

/** Notes the services of a workload behind a waypoint that do not have it. */
export function noteUnreachable(services: readonly string[], notes: Notes): void {
  for (const key of services) {
    const message = `it lets in only a waypoint that the service ${key} does not have`
    notes.add('WAYPOINT_NOT_OF_SERVICE', 'metadata.labels', message, 'give the service the waypoint too')
  }
}

/** What a workload's own waypoint came to. */
export interface WorkloadWaypoint {
  readonly request: WaypointRequest
  readonly binding: WaypointBinding
}

/** The waypoint for traffic to the workload itself; null when none is asked for. */
export function bindWorkload(
  object: ConfigObject,
  namespace: ConfigObject | undefined,
  waypoints: Waypoints,
): WorkloadWaypoint | null {
  const request = requestedWaypoint(object, namespace, null)
  if (request === null) return null
  return {
    request,
    binding: waypoints.bind(request.primary, namespace, object.metadata.namespace, 'workload'),
  }
}

/** `<namespace>/<name>` of the waypoint that a workload asks for and is not given; null when nothing is amiss. */
export function missingWaypoint(waypoint: WorkloadWaypoint | null): string | null {
  if (waypoint === null || waypoint.binding.address !== null) return null
  const { request, binding } = waypoint
  return isMeantFor(request, binding) ? waypointKey(request.primary) : null
}
