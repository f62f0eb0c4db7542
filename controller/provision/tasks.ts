// SPDX-License-Identifier: Apache-2.0
// What is to be written for the configuration as it is: one task for each Gateway, so that one which cannot be done holds
// up no other. Pure.
import type { ConfigFinding } from '../translate/translation.ts'
import { MANAGED_BY, MANAGER, WAYPOINT_CLASS, WAYPOINT_CONTROLLER } from '../translate/waypoint-class.ts'
import { AUTO_WAYPOINT_NAME } from '../translate/waypoint-request.ts'
import type { ConfigObject, ConfigView } from '../watch/config-object.ts'
import { isMap, type RawMap } from '../watch/value-mistakes.ts'
import { autoGateway, autoGateways, type UnusedGateway } from './auto-gateways.ts'
import type { KubernetesObject } from './object-path.ts'
import type { IsOurs } from './object-writer.ts'
import { type WaypointSettings, waypointObjects } from './waypoint-objects.ts'
import { desiredWaypoints, GATEWAY_CLASS, NAMESPACE } from './waypoint-plan.ts'

/** Objects that belong together. */
export interface ApplyTask {
  /** Says what they depend on: the same text, the same objects. */
  readonly text: string
  /** Made when they are written: ten thousand Gateways should not cost a translation their objects. */
  objects(): readonly KubernetesObject[]
  readonly isOurs: IsOurs
}

export interface ProvisionTasks {
  /** By what people call it: `GatewayClass sidestep-waypoint`, `Gateway shop/sidestep-waypoint`, `waypoint shop/cart`. */
  readonly tasks: ReadonlyMap<string, ApplyTask>
  readonly unused: readonly UnusedGateway[]
  readonly findings: readonly ConfigFinding[]
}

/** Everything there is to do. */
export function provisionTasks(view: ConfigView, settings: WaypointSettings): ProvisionTasks {
  const tasks = new Map<string, ApplyTask>()
  const home = view.get(NAMESPACE, '', settings.controllerNamespace)
  if (isClassWanted(view, home))
    tasks.set(`GatewayClass ${WAYPOINT_CLASS}`, {
      text: home?.metadata.uid ?? '',
      objects: () => [gatewayClass(home)],
      isOurs: hasOurLabel,
    })
  const { wanted, unused, findings: ofAuto } = autoGateways(view)
  for (const namespace of wanted)
    tasks.set(autoKey(namespace), { text: '', objects: () => [autoGateway(namespace)], isOurs: hasOurLabel })
  const { waypoints, findings } = desiredWaypoints(view)
  for (const plan of waypoints) {
    const isOurs: IsOurs = (metadata) => hasOurLabel(metadata) && isOwnedBy(metadata, plan.uid)
    tasks.set(`waypoint ${plan.namespace}/${plan.gateway}`, {
      text: JSON.stringify(plan),
      objects: () => waypointObjects(plan, settings),
      isOurs,
    })
  }
  return { tasks, unused, findings: [...ofAuto, ...findings] }
}

/** The task of a namespace's own Gateway. */
export function autoKey(namespace: string): string {
  return `Gateway ${namespace}/${AUTO_WAYPOINT_NAME}`
}

/** Until there is one; one of ours is given its owner, which earlier versions did not write. */
function isClassWanted(view: ConfigView, home: ConfigObject | undefined): boolean {
  const found = view.get(GATEWAY_CLASS, '', WAYPOINT_CLASS)
  if (home?.metadata.isDeleting) return false
  if (found === undefined) return true
  const { labels, ownerReferences } = found.metadata
  if (home === undefined || home.metadata.uid === '' || !hasOurLabel({ labels })) return false
  return !isOwnedBy({ ownerReferences }, home.metadata.uid)
}

/**
 * It goes with the namespace of the controllers. Only a cluster-scoped object may own it, and this one is the last to go: nobody
 * is left to make the class again.
 */
function gatewayClass(home: ConfigObject | undefined): KubernetesObject {
  const { name = '', uid = '' } = home?.metadata ?? {}
  const owner = uid === '' ? {} : { ownerReferences: [{ apiVersion: 'v1', kind: 'Namespace', name, uid }] }
  return {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'GatewayClass',
    metadata: { name: WAYPOINT_CLASS, labels: { [MANAGED_BY]: MANAGER }, ...owner },
    spec: { controllerName: WAYPOINT_CONTROLLER, description: 'Waypoints of Sidestep' },
  }
}

const hasOurLabel: IsOurs = ({ labels }) => isMap(labels) && labels[MANAGED_BY] === MANAGER

function isOwnedBy({ ownerReferences }: RawMap, uid: string): boolean {
  return Array.isArray(ownerReferences) && ownerReferences.some((each) => isMap(each) && each.uid === uid)
}
