// SPDX-License-Identifier: Apache-2.0
// The Gateways that `sidestep.dev/waypoint: auto` stands for, one per namespace in which something says so: so a layer 7
// policy on such a service has its waypoint. Which are to be made, and which nobody needs any more. Pure.
import { HBONE_PORT } from '../../mesh/net/mesh-ports.ts'
import { Notes } from '../translate/notes.ts'
import type { ConfigFinding } from '../translate/translation.ts'
import { MANAGED_BY, MANAGER, WAYPOINT_CLASS } from '../translate/waypoint-class.ts'
import {
  AUTO_WAYPOINT_NAME,
  requestedWaypoint,
  WAYPOINT_ANNOTATION,
  waypointKey,
} from '../translate/waypoint-request.ts'
import { type ConfigObject, type ConfigView, kindKey } from '../watch/config-object.ts'
import type { KubernetesObject } from './object-path.ts'
import { GATEWAY, isForeignClass, isLiving } from './waypoint-plan.ts'

const NAMESPACE = kindKey('', 'Namespace')
const POD = kindKey('', 'Pod')
/** Kinds that may ask for a waypoint. */
const ASKING_KINDS = [
  NAMESPACE,
  kindKey('', 'Service'),
  POD,
  kindKey('networking.istio.io', 'ServiceEntry'),
  kindKey('networking.istio.io', 'WorkloadEntry'),
]
const FINISHED: readonly unknown[] = ['Succeeded', 'Failed']
const WAYPOINT_FOR = 'istio.io/waypoint-for'

/** A Gateway that we made and that may go. */
export interface UnusedGateway {
  readonly namespace: string
  readonly uid: string
}

export interface AutoGateways {
  /** Namespaces whose Gateway should be there and is ours, or nobody's yet. In order. */
  readonly wanted: readonly string[]
  /** Ours, and no object names it, by `auto` or otherwise. */
  readonly unused: readonly UnusedGateway[]
  readonly findings: readonly ConfigFinding[]
}

/** Looks who asks for what. */
export function autoGateways(view: ConfigView): AutoGateways {
  const { asking, named } = readRequests(view)
  const wanted: string[] = []
  const findings: ConfigFinding[] = []
  for (const namespace of isForeignClass(view) ? [] : asking.toSorted()) {
    if (!isLiving(view, namespace)) continue
    const found = view.get(GATEWAY, namespace, AUTO_WAYPOINT_NAME)
    if (found === undefined || isOurs(found)) wanted.push(namespace)
    else if (found.spec.gatewayClassName !== WAYPOINT_CLASS) {
      const notes = new Notes(found)
      const message = `${WAYPOINT_ANNOTATION}: auto stands for this Gateway, but it is no waypoint of ours`
      notes.add('WAYPOINT_NAME_TAKEN', 'metadata.name', message, `rename it, or name a waypoint there`)
      for (const finding of notes.findings) findings.push(finding)
    }
  }
  const unused = view.list(GATEWAY).flatMap((gateway) => {
    const { namespace, name, uid, isDeleting } = gateway.metadata
    const mayGo = name === AUTO_WAYPOINT_NAME && isOurs(gateway) && !isDeleting && uid !== ''
    return mayGo && !named.has(waypointKey({ namespace, name })) ? [{ namespace, uid }] : []
  })
  return { wanted, unused, findings }
}

/** The Gateway as we want it. It serves whoever asks in its namespace: services, and pods by their address. */
export function autoGateway(namespace: string): KubernetesObject {
  return {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'Gateway',
    metadata: {
      name: AUTO_WAYPOINT_NAME,
      namespace,
      labels: { [MANAGED_BY]: MANAGER, [WAYPOINT_FOR]: 'all' },
    },
    spec: {
      gatewayClassName: WAYPOINT_CLASS,
      listeners: [{ name: 'mesh', port: HBONE_PORT, protocol: 'HBONE' }],
    },
  }
}

function isOurs({ metadata }: ConfigObject): boolean {
  return metadata.labels[MANAGED_BY] === MANAGER
}

/** `asking`: namespaces in which something says `auto`; `named`: waypoints that anything asks for, in any way. */
function readRequests(view: ConfigView): { asking: string[]; named: ReadonlySet<string> } {
  const asking = new Set<string>()
  const named = new Set<string>()
  for (const kind of ASKING_KINDS)
    for (const object of view.list(kind)) {
      if (kind === POD && FINISHED.includes(object.status.phase)) continue
      const request = requestedWaypoint(object, undefined, null)
      if (request === null) continue
      const home = kind === NAMESPACE ? object.metadata.name : object.metadata.namespace
      for (const waypoint of [request.primary, request.canary]) {
        if (waypoint !== null) named.add(waypointKey({ ...waypoint, namespace: waypoint.namespace || home }))
      }
      if (object.metadata.annotations[WAYPOINT_ANNOTATION] === 'auto') asking.add(home)
    }
  return { asking: [...asking], named }
}
