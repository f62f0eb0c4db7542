// SPDX-License-Identifier: Apache-2.0
// Every status that is ours to write, as it should be now. Pure: the same configuration gives the same statuses, whichever
// replica computes them. Findings about other kinds are in admin only.
import { HBONE_PORT } from '../../mesh/net/mesh-ports.ts'
import { WorkloadStatus } from '../../proto/generated/istio/workload_pb.js'
import type { MeshView } from '../mesh-view.ts'
import type { TranslateSettings, Translation } from '../translate/translation.ts'
import { WAYPOINT_CLASS, WAYPOINT_CONTROLLER } from '../translate/waypoint-class.ts'
import { type ConfigObject, kindKey, refKey } from '../watch/config-object.ts'
import { type CountReady, classStatus, gatewayStatus } from './gateway-status.ts'
import { policyCondition } from './policy-status.ts'
import { measureReach } from './reach.ts'
import { routeStatuses } from './route-status.ts'
import { patchOf, type StatusPatch } from './status-patch.ts'

const GATEWAY_GROUP = 'gateway.networking.k8s.io'
const GATEWAY = kindKey(GATEWAY_GROUP, 'Gateway')
const GATEWAY_CLASS = kindKey(GATEWAY_GROUP, 'GatewayClass')

/** What of a MeshView is looked at. */
export type StatusView = Pick<MeshView, 'objects' | 'translation'>

/** Where names come from. */
export type StatusSettings = Pick<TranslateSettings, 'clusterId' | 'clusterDomain'>

/** In the order in which translation has the objects; one patch per object. */
export function desiredStatus(view: StatusView, settings: StatusSettings): StatusPatch[] {
  return [
    ...gatewayStatuses(view, settings),
    ...policyStatuses(view, settings),
    ...routeStatuses(view.objects, view.translation.routeStates),
  ]
}

function policyStatuses({ objects, translation }: StatusView, settings: StatusSettings): StatusPatch[] {
  const { enforcement } = translation
  const selections = enforcement.flatMap(({ selects }) => selects ?? [])
  const reachOf = measureReach(objects, translation, settings, selections)
  const findings = Map.groupBy(translation.findings, ({ object }) => refKey(object))
  return enforcement.flatMap((each) => {
    const { group, kind, namespace, name } = each.object
    const object = objects.get(kindKey(group, kind), namespace, name)
    // The view may be newer than its translation.
    if (object === undefined || object.metadata.isDeleting) return []
    const reach = each.selects === null ? null : reachOf(each.selects)
    const condition = policyCondition(each, reach, findings.get(refKey(each.object)) ?? [])
    return { ...patchOf(object, [condition]), generation: each.generation }
  })
}

/** Of a class that names another controller, or of no class that there is: nothing. */
function gatewayStatuses({ objects, translation }: StatusView, settings: StatusSettings): StatusPatch[] {
  const classes = objects.list(GATEWAY_CLASS).filter(isOurs)
  const hasClass = classes.some(({ metadata }) => metadata.name === WAYPOINT_CLASS)
  const gateways = hasClass
    ? objects
        .list(GATEWAY)
        .filter(({ spec, metadata }) => spec.gatewayClassName === WAYPOINT_CLASS && !metadata.isDeleting)
    : []
  const readyPods = countReady(gateways.length > 0, translation, settings)
  return [...classes.map(classStatus), ...gateways.map((each) => gatewayStatus(each, objects, readyPods))]
}

function isOurs({ spec, metadata }: ConfigObject): boolean {
  return spec.controllerName === WAYPOINT_CONTROLLER && !metadata.isDeleting
}

/** Workloads that ztunnels would send to, at the port of waypoints. */
function countReady(
  isAsked: boolean,
  { workloads }: Translation,
  { clusterDomain }: StatusSettings,
): CountReady {
  const counts = new Map<string, number>()
  for (const { status, services } of isAsked ? workloads.values() : []) {
    if (status !== WorkloadStatus.HEALTHY) continue
    for (const [key, { ports }] of Object.entries(services))
      if (ports.some(({ servicePort }) => servicePort === HBONE_PORT))
        counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return (namespace, name) => counts.get(`${namespace}/${name}.${namespace}.svc.${clusterDomain}`) ?? 0
}
