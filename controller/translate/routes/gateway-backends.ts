// SPDX-License-Identifier: Apache-2.0
// backendRefs of the Gateway API: to whom, with which share, and why not. SPEC GATEWAY-API BackendRef: what leads nowhere is
// answered 500 for its share.
import type { Fields } from '../fields.ts'
import { quote } from '../notes.ts'
import { MAX_PORT, type ServiceInfo } from '../service-info.ts'
import type { BackendAsk, BackendInit, RouteReading } from './route-part.ts'
import { MAX_WEIGHT } from './route-values.ts'

const REF_FIELDS = ['group', 'kind', 'name', 'namespace', 'port', 'weight']
const GATEWAY_GROUP = 'gateway.networking.k8s.io'

/** Reads the filters of one backend. */
export type ReadFilters = (ref: Fields) => BackendInit['filters']

/** One backendRef with its weight and filters. */
export function readBackend(
  ref: Fields,
  reading: RouteReading,
  readFilters: ReadFilters | null,
): BackendInit {
  const before = reading.mistakes
  reading.allow(ref, readFilters === null ? REF_FIELDS : [...REF_FIELDS, 'filters'])
  const weight = ref.integer('weight', 0, MAX_WEIGHT) ?? 1
  const filters = readFilters?.(ref) ?? []
  const target = readTarget(ref, reading)
  const broken = reading.mistakes > before ? 'the reference cannot be acted on' : target.broken
  return broken === '' ? { ...target, weight, filters } : { weight, broken }
}

interface Target {
  readonly service: string
  readonly port: number
  readonly broken: string
}

/** Where a reference of the Gateway API leads, weight and filters aside. */
export function readTarget(ref: Fields, reading: RouteReading): Target {
  const refuse = (...why: Parameters<RouteReading['refuseRef']>): Target => ({
    service: '',
    port: 0,
    broken: reading.refuseRef(...why),
  })
  const name = ref.text('name')
  const ask = askOf(ref, reading)
  if (ask === null) {
    const called = `${ref.text('group')}/${ref.text('kind')}`
    return refuse('InvalidKind', ref.path, `${quote(called)} is no backend`, 'name a Service')
  }
  const found = reading.find(ask)
  const called = ask.by === 'host' ? quote(name) : quote(`${ask.namespace}/${name}`)
  if (found === 'forbidden') {
    const fix = `write a ReferenceGrant in the namespace ${ask.namespace}`
    return refuse('RefNotPermitted', ref.path, `the Service ${called} is of another namespace`, fix)
  }
  if (found === 'missing')
    return refuse('BackendNotFound', ref.path, `there is no service ${called}`, 'create it, or mend the name')
  const port = ref.integer('port', 1, MAX_PORT)
  if (port === undefined)
    return refuse(
      'BackendNotFound',
      ref.pathOf('port'),
      'a backend needs a port',
      'write the port of the Service',
    )
  if (!hasPort(found, port)) {
    const ports = found.ports.map(({ servicePort }) => servicePort).join(', ')
    const fix = ports === '' ? 'give the Service ports' : `use one of ${ports}`
    return refuse('BackendNotFound', ref.pathOf('port'), `the service ${called} has no port ${port}`, fix)
  }
  reading.backends.add(found.key)
  return { service: found.key, port, broken: '' }
}

function askOf(ref: Fields, { object, parentService }: RouteReading): BackendAsk | null {
  const home = object.metadata.namespace
  const name = ref.text('name')
  switch (`${ref.text('group')}/${ref.text('kind', 'Service')}`) {
    case '/Service':
    case 'core/Service': {
      const namespace = ref.text('namespace') || home
      return { by: 'name', namespace, name, isParent: `${namespace}/${name}` === parentService }
    }
    case 'networking.istio.io/Hostname':
      return { by: 'host', namespace: home, name }
    default:
      return null
  }
}

export function hasPort({ ports }: ServiceInfo, port: number): boolean {
  return ports.some(({ servicePort }) => servicePort === port)
}

/** Text of a ReferenceGrant's `from`, for look-ups. */
export function grantKey(kind: string, namespace: string): string {
  return `${GATEWAY_GROUP}/${kind} ${namespace}`
}
