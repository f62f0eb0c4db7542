// SPDX-License-Identifier: Apache-2.0
// What the status of a Gateway of ours says, and that of its class: whether its waypoint is there, and what it waits
// for. SPEC GATEWAY-API Gateway status. Pure; specs may say anything.
import { HBONE_PORT } from '../../mesh/net/mesh-ports.ts'
import { Fields } from '../translate/fields.ts'
import { Notes } from '../translate/notes.ts'
import { WAYPOINT_CLASS } from '../translate/waypoint-class.ts'
import { gatewayLabel, waypointObjectName } from '../translate/waypoint-names.ts'
import { GATEWAY_NAME } from '../translate/waypoint-request.ts'
import { type ConfigObject, type ConfigView, kindKey } from '../watch/config-object.ts'
import {
  CLASS_ACCEPTED,
  CLASS_VERSION,
  conditionOf,
  GATEWAY_ACCEPTED,
  GATEWAY_PROGRAMMED,
  LISTENER_ACCEPTED,
  LISTENER_PROGRAMMED,
  LISTENER_REFS,
} from './conditions.ts'
import { patchOf, type StatusPatch, type WantedCondition, type WantedListener } from './status-patch.ts'

const SERVICE = kindKey('', 'Service')
const PROTOCOL = 'HBONE'

/** Ready pods of a Service, by its namespace and name. */
export type CountReady = (namespace: string, service: string) => number

export function classStatus(object: ConfigObject): StatusPatch {
  const accepted =
    object.metadata.name !== WAYPOINT_CLASS
      ? conditionOf(CLASS_ACCEPTED, 'Unsupported', `the class of our waypoints is ${WAYPOINT_CLASS}`)
      : fieldsOf(object).raw('parametersRef') === undefined
        ? conditionOf(CLASS_ACCEPTED, 'Accepted', 'its Gateways are waypoints of ours')
        : conditionOf(CLASS_ACCEPTED, 'InvalidParameters', 'parametersRef is not read: remove it')
  const version = object.apiVersion.endsWith('/v1')
    ? conditionOf(CLASS_VERSION, 'SupportedVersion', `read as ${object.apiVersion}`)
    : conditionOf(CLASS_VERSION, 'UnsupportedVersion', `read as ${object.apiVersion}; install v1`)
  return patchOf(object, [accepted, version])
}

/** `readyPods` are counted for the Service of the waypoint only. */
export function gatewayStatus(gateway: ConfigObject, view: ConfigView, readyPods: CountReady): StatusPatch {
  const listeners = fieldsOf(gateway).items('listeners')
  const accepted = listeners.map(listenerAccepted)
  const valid = accepted.filter(({ status }) => status === 'True').length
  const isAccepted = valid > 0
  const service = serviceOf(gateway, view)
  const addresses = addressesOf(service)
  const programmed = isAccepted
    ? programmedOf(gateway, service, addresses, readyPods)
    : conditionOf(GATEWAY_PROGRAMMED, 'Invalid', 'the Gateway is not accepted')
  const conditions = [
    isAccepted
      ? conditionOf(GATEWAY_ACCEPTED, 'Accepted', `${valid} of ${listeners.length} listeners can be served`)
      : conditionOf(
          GATEWAY_ACCEPTED,
          'ListenersNotValid',
          `no listener has port ${HBONE_PORT} and protocol ${PROTOCOL}`,
        ),
    programmed,
  ]
  const wanted = listeners.map((listener, index) =>
    listenerOf(listener, accepted[index] ?? programmed, programmed),
  )
  // A waypoint without an address is not there for ztunnels. It gets one when a pod of it can serve, so that nobody is sent to
  // one that is still starting; the address stays, whether or not pods are ready or the Service is being made anew: traffic
  // would go round it.
  return patchOf(gateway, conditions, {
    addresses: programmed.status === 'True' ? addresses : null,
    listeners: wanted,
  })
}

function programmedOf(
  gateway: ConfigObject,
  service: ConfigObject | undefined,
  addresses: readonly Address[],
  readyPods: CountReady,
): WantedCondition {
  const { namespace, name } = gateway.metadata
  const called = `${namespace}/${waypointObjectName(name)}`
  if (service === undefined)
    return conditionOf(GATEWAY_PROGRAMMED, 'NoResources', `there is no Service ${called} of this Gateway yet`)
  if (addresses.length === 0)
    return conditionOf(GATEWAY_PROGRAMMED, 'AddressNotAssigned', `the Service ${called} has no address`)
  const has = new Set(addresses.map(({ value }) => value))
  const asked = fieldsOf(gateway)
    .items('addresses')
    .map((each) => each.text('value'))
  const absent = asked.find((value) => value !== '' && !has.has(value))
  if (absent !== undefined) {
    const message = `a waypoint has the addresses of its Service ${called}, ${absent} is none of them`
    return conditionOf(GATEWAY_PROGRAMMED, 'AddressNotAssigned', message)
  }
  const ready = readyPods(namespace, service.metadata.name)
  if (ready === 0)
    return conditionOf(GATEWAY_PROGRAMMED, 'Pending', `no pod of the Service ${called} is ready`)
  return conditionOf(GATEWAY_PROGRAMMED, 'Programmed', `${ready} ready pod${ready === 1 ? '' : 's'}`)
}

interface Address {
  readonly type: string
  readonly value: string
}

/** The Service that was made for the Gateway; one of that name that is not for it does not count. */
function serviceOf({ metadata }: ConfigObject, view: ConfigView): ConfigObject | undefined {
  const service = view.get(SERVICE, metadata.namespace, waypointObjectName(metadata.name))
  return service?.metadata.labels[GATEWAY_NAME] === gatewayLabel(metadata.name) ? service : undefined
}

function addressesOf(service: ConfigObject | undefined): Address[] {
  if (service === undefined) return []
  const spec = fieldsOf(service)
  const listed = spec.texts('clusterIPs').map(({ text }) => text)
  const all = listed.length > 0 ? listed : [spec.text('clusterIP')]
  return all
    .filter((value) => value !== '' && value !== 'None')
    .map((value) => ({ type: 'IPAddress', value }))
}

function listenerAccepted(listener: Fields): WantedCondition {
  if (listener.raw('protocol') !== PROTOCOL)
    return conditionOf(LISTENER_ACCEPTED, 'UnsupportedProtocol', `the protocol has to be ${PROTOCOL}`)
  if (listener.raw('port') !== HBONE_PORT)
    return conditionOf(LISTENER_ACCEPTED, 'PortUnavailable', `the port has to be ${HBONE_PORT}`)
  return conditionOf(LISTENER_ACCEPTED, 'Accepted', `port ${HBONE_PORT}, protocol ${PROTOCOL}`)
}

function listenerOf(listener: Fields, accepted: WantedCondition, gateway: WantedCondition): WantedListener {
  const programmed =
    accepted.status !== 'True'
      ? conditionOf(LISTENER_PROGRAMMED, 'Invalid', 'the listener is not accepted')
      : gateway.status === 'True'
        ? conditionOf(LISTENER_PROGRAMMED, 'Programmed', gateway.message)
        : conditionOf(LISTENER_PROGRAMMED, 'Pending', gateway.message)
  const kinds = listener.fields('allowedRoutes').items('kinds')
  const refs =
    kinds.length === 0
      ? conditionOf(LISTENER_REFS, 'ResolvedRefs', 'nothing is missing')
      : conditionOf(LISTENER_REFS, 'InvalidRouteKinds', 'routes are not served: remove allowedRoutes.kinds')
  return { name: listener.text('name'), conditions: [accepted, programmed, refs] }
}

// What is wrong with these fields is told by whoever acts on them.
function fieldsOf(object: ConfigObject): Fields {
  return new Fields(object.spec, 'spec', new Notes(object))
}
