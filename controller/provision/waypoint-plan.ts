// SPDX-License-Identifier: Apache-2.0
// Which waypoints should run: one for every Gateway of our class. What its author wrote and we do not read becomes a
// finding. Pure.
import { Fields } from '../translate/fields.ts'
import { Notes, quote } from '../translate/notes.ts'
import type { ConfigFinding } from '../translate/translation.ts'
import { WAYPOINT_CLASS, WAYPOINT_CONTROLLER } from '../translate/waypoint-class.ts'
import { type ConfigObject, type ConfigView, kindKey } from '../watch/config-object.ts'
import { isReservedLabel } from './waypoint-labels.ts'

export const GATEWAY = kindKey('gateway.networking.k8s.io', 'Gateway')
export const GATEWAY_CLASS = kindKey('gateway.networking.k8s.io', 'GatewayClass')
export const NAMESPACE = kindKey('', 'Namespace')

/** On a Gateway: how many pods its waypoint has. */
export const REPLICAS_ANNOTATION = 'sidestep.dev/waypoint-replicas'
const DEFAULT_REPLICAS = 2 // one may be replaced while the other serves
const MAX_REPLICAS = 100 // more is a slip of the finger

/** One waypoint that should run. */
export interface WaypointPlan {
  readonly namespace: string
  /** Of the Gateway. */
  readonly gateway: string
  readonly uid: string
  /** Of the Gateway, as it is read: `gateway.networking.k8s.io/v1`. */
  readonly apiVersion: string
  readonly replicas: number
  /** `spec.infrastructure`: for everything that is made, without labels that are ours. */
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

/** All of them, in the order of namespace and name. */
export interface DesiredWaypoints {
  readonly waypoints: readonly WaypointPlan[]
  readonly findings: readonly ConfigFinding[]
}

/** Reads every Gateway of our class. One that is being deleted, or whose namespace is, needs nothing any more. */
export function desiredWaypoints(view: ConfigView): DesiredWaypoints {
  const waypoints: WaypointPlan[] = []
  const findings: ConfigFinding[] = []
  if (isForeignClass(view)) return { waypoints, findings: classFindings(view) }
  for (const gateway of view.list(GATEWAY)) {
    const { namespace, uid, isDeleting } = gateway.metadata
    if (gateway.spec.gatewayClassName !== WAYPOINT_CLASS || isDeleting || uid === '') continue
    if (!isLiving(view, namespace)) continue
    const notes = new Notes(gateway)
    waypoints.push(planOf(gateway, notes))
    for (const finding of notes.findings) findings.push(finding)
  }
  return { waypoints, findings }
}

/** True when something can be made in the namespace. */
export function isLiving(view: ConfigView, namespace: string): boolean {
  return view.get(NAMESPACE, '', namespace)?.metadata.isDeleting === false
}

/** SPEC GATEWAY-API GatewayClass: a controller acts on classes that name it, and on no other. */
export function isForeignClass(view: ConfigView): boolean {
  const found = view.get(GATEWAY_CLASS, '', WAYPOINT_CLASS)
  return found !== undefined && found.spec.controllerName !== WAYPOINT_CONTROLLER
}

function classFindings(view: ConfigView): ConfigFinding[] {
  const found = view.get(GATEWAY_CLASS, '', WAYPOINT_CLASS)
  if (found === undefined) return []
  const notes = new Notes(found)
  const message = `the class ${WAYPOINT_CLASS} belongs to another controller; no waypoint is made`
  const fix = `delete the GatewayClass: it is made anew, for ${WAYPOINT_CONTROLLER}`
  notes.add('WAYPOINT_NAME_TAKEN', 'spec.controllerName', message, fix)
  return notes.findings
}

function planOf(gateway: ConfigObject, notes: Notes): WaypointPlan {
  const { namespace, name, uid } = gateway.metadata
  const spec = new Fields(gateway.spec, 'spec', notes)
  const infrastructure = spec.fields('infrastructure')
  const labels = [...infrastructure.textMap('labels')].filter(([key]) => {
    if (!isReservedLabel(key)) return true
    const path = infrastructure.fields('labels').pathOf(key)
    const message = 'the label is set by the controller; the one of the Gateway is not used'
    notes.add('CONTRADICTION', path, message, 'remove it')
    return false
  })
  const unread = (owner: Fields, key: string, message: string, fix: string): void => {
    if (owner.raw(key) !== undefined) notes.add('FIELD_NOT_SERVED', owner.pathOf(key), message, fix)
  }
  const fix = `use infrastructure.labels, infrastructure.annotations or ${REPLICAS_ANNOTATION}`
  unread(infrastructure, 'parametersRef', 'parameters of a waypoint are not read', fix)
  unread(spec, 'addresses', 'a waypoint has the addresses of its Service', 'remove them')
  return {
    ...{ namespace, gateway: name, uid, apiVersion: gateway.apiVersion },
    replicas: replicasOf(gateway, notes),
    labels: Object.fromEntries(labels),
    annotations: Object.fromEntries(infrastructure.textMap('annotations')),
  }
}

function replicasOf(gateway: ConfigObject, notes: Notes): number {
  const text: unknown = gateway.metadata.annotations[REPLICAS_ANNOTATION]
  if (text === undefined) return DEFAULT_REPLICAS
  const replicas = typeof text === 'string' && /^\d{1,3}$/.test(text) ? Number(text) : 0
  if (replicas >= 1 && replicas <= MAX_REPLICAS) return replicas
  const message = `${quote(String(text))} is no number from 1 to ${MAX_REPLICAS}; it has ${DEFAULT_REPLICAS} pods`
  notes.add('INVALID_VALUE', `metadata.annotations.${REPLICAS_ANNOTATION}`, message, 'write "3" for 3 pods')
  return DEFAULT_REPLICAS
}
