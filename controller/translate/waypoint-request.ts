// SPDX-License-Identifier: Apache-2.0
// Which waypoint an object asks for: our annotation, Istio's labels, the object's or its namespace's. SPEC HBONE §9.2.
import type { ConfigObject } from '../watch/config-object.ts'
import type { Notes } from './notes.ts'

export const WAYPOINT_ANNOTATION = 'sidestep.dev/waypoint'
/** Name of the Gateway that `sidestep.dev/waypoint: auto` stands for, in the namespace of the object. */
export const AUTO_WAYPOINT_NAME = 'sidestep-waypoint'

const USE = 'istio.io/use-waypoint'
const USE_NAMESPACE = 'istio.io/use-waypoint-namespace'
const CANARY = 'istio.io/use-waypoint-canary'
const CANARY_NAMESPACE = 'istio.io/use-waypoint-canary-namespace'
const CANARY_WEIGHT = 'istio.io/use-waypoint-canary-weight'
const INGRESS = 'istio.io/ingress-use-waypoint'
const MANAGED = 'gateway.istio.io/managed'
/** On the pods and the service of a Gateway: its name. */
export const GATEWAY_NAME = 'gateway.networking.k8s.io/gateway-name'
const NEVER_BOUND = ['istio.io-mesh-controller', 'istio.io-eastwest-controller']

export interface WaypointName {
  readonly namespace: string
  readonly name: string
}

/** `<namespace>/<name>`. */
export function waypointKey({ namespace, name }: WaypointName): string {
  return `${namespace}/${name}`
}

export interface WaypointRequest {
  readonly primary: WaypointName
  readonly canary: WaypointName | null
  /** Per cent of connections for the canary. */
  readonly canaryWeight: number
  /** Said by the namespace, not by the object: then a waypoint of the wrong type is no mistake. */
  readonly isInherited: boolean
  /** Ingress gateways send to the waypoint too. */
  readonly hasIngress: boolean
}

/** What is asked for; null: no waypoint. Mistakes of the object itself are noted, those of its namespace are not. */
export function requestedWaypoint(
  object: ConfigObject,
  namespace: ConfigObject | undefined,
  notes: Notes | null,
): WaypointRequest | null {
  const { labels } = object.metadata
  if (NEVER_BOUND.includes(labels[MANAGED] ?? '')) return null
  const own = requestOf(object, object.metadata.namespace, notes)
  const request =
    own ?? (namespace === undefined ? undefined : requestOf(namespace, object.metadata.namespace, null))
  if (request === undefined || request === 'none') return null
  // A waypoint behind itself, or two behind each other by a namespace's word, would be a loop.
  const gateway = textOf(labels, GATEWAY_NAME)
  if (gateway !== '' && (own === undefined || gateway === request.primary.name)) return null
  const hasIngress = request.hasIngress || (labels[INGRESS] ?? namespace?.metadata.labels[INGRESS]) === 'true'
  return { ...request, hasIngress, isInherited: own === undefined }
}

type Request = Omit<WaypointRequest, 'isInherited'>

function requestOf(object: ConfigObject, home: string, notes: Notes | null): Request | 'none' | undefined {
  const { annotations, labels } = object.metadata
  const ours = textOf(annotations, WAYPOINT_ANNOTATION)
  const theirs = textOf(labels, USE)
  if (ours !== '' && theirs !== '' && ours !== theirs) {
    const message = `${WAYPOINT_ANNOTATION} and ${USE} name different waypoints; the first counts`
    notes?.add('CONTRADICTION', `metadata.annotations.${WAYPOINT_ANNOTATION}`, message, 'remove one of them')
  }
  if (ours === '' && theirs === '') return undefined
  if ((ours || theirs) === 'none') return 'none'
  if (ours !== '') {
    const primary = { namespace: home, name: ours === 'auto' ? AUTO_WAYPOINT_NAME : ours }
    // Our one annotation covers ingress too.
    return { primary, canary: null, canaryWeight: 0, hasIngress: true }
  }
  const canaryName = textOf(labels, CANARY)
  return {
    primary: { namespace: textOf(labels, USE_NAMESPACE) || home, name: theirs },
    canary:
      canaryName === '' ? null : { namespace: textOf(labels, CANARY_NAMESPACE) || home, name: canaryName },
    canaryWeight: canaryName === '' ? 0 : weightOf(object, notes),
    hasIngress: false,
  }
}

function weightOf(object: ConfigObject, notes: Notes | null): number {
  const text = textOf(object.metadata.annotations, CANARY_WEIGHT)
  if (text === '') return 0
  if (/^(\d{1,2}|100)$/.test(text)) return Number(text)
  const path = `metadata.annotations.${CANARY_WEIGHT}`
  notes?.add('INVALID_VALUE', path, 'the weight is no number from 0 to 100; it is 0', 'write "10" for 10 %')
  return 0
}

function textOf(map: Readonly<Record<string, unknown>>, key: string): string {
  const value = map[key]
  return typeof value === 'string' ? value : ''
}
