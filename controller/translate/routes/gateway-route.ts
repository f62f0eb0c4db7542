// SPDX-License-Identifier: Apache-2.0
// HTTPRoute, GRPCRoute, TCPRoute and TLSRoute: parents, and rules with their references resolved. SPEC GATEWAY-API; of the mesh
// GEP-1426.
import type { ConfigObject } from '../../watch/config-object.ts'
import { Fields } from '../fields.ts'
import { MAX_PORT } from '../service-info.ts'
import { readGatewayHttpRules, readGatewayTcpRules } from './gateway-rules.ts'
import { type FindBackend, RouteReading, type RulesPart } from './route-part.ts'

/** Of routes that claim one port of one service, those of the first kind count. SPEC GATEWAY-API GEP-1426. */
export const ROUTE_KINDS = ['GRPCRoute', 'HTTPRoute', 'TLSRoute', 'TCPRoute'] as const
export type RouteKind = (typeof ROUTE_KINDS)[number]

/** A parentRef. */
export interface ParentRef {
  readonly group: string
  readonly kind: string
  readonly namespace: string
  readonly name: string
  /** 0: every port. */
  readonly port: number
  /** Name of a port; '': every port. */
  readonly sectionName: string
  /** Where it stands. */
  readonly path: string
  /** Something of it is not understood: it might be for less than what is. */
  readonly isUnreadable: boolean
  /** As it was written, for the status. */
  readonly raw: Readonly<Record<string, unknown>>
}

export interface GatewayRoutePart extends RulesPart {
  readonly kind: RouteKind
  readonly parents: readonly ParentRef[]
}

const SPEC_FIELDS = ['parentRefs', 'hostnames', 'rules', 'useDefaultGateways']
const PARENT_FIELDS = ['group', 'kind', 'namespace', 'name', 'sectionName', 'port']
const GATEWAY_GROUP = 'gateway.networking.k8s.io'

export function readGatewayRoute(object: ConfigObject, kind: RouteKind, find: FindBackend): GatewayRoutePart {
  const reading = new RouteReading(object, find)
  const spec = new Fields(object.spec, 'spec', reading.notes)
  for (const key of spec.keys())
    if (!SPEC_FIELDS.includes(key)) reading.noteUnserved(spec, { [key]: 'remove it' })
  const parents = spec.items('parentRefs').map((ref) => readParent(ref, object, reading))
  reading.parentService = onlyService(parents)
  const hosts = spec.texts('hostnames').map(({ text }) => text.toLowerCase())
  const isHttp = kind === 'HTTPRoute' || kind === 'GRPCRoute'
  const isOfServices = parents.some((parent) => parent.kind !== 'Gateway')
  // SPEC GATEWAY-API GEP-1426: a service is known by its address, whatever the Host header says.
  if (isHttp && hosts.length > 0 && isOfServices)
    reading.noteUnserved(spec, { hostnames: 'remove it: routes of Services are for all hosts' })
  const rules = isHttp
    ? readGatewayHttpRules(spec, kind, reading)
    : l4Rules(spec, kind, reading, kind === 'TLSRoute' ? hosts : [])
  const { badRef, notes } = reading
  const backends = [...reading.backends].toSorted()
  return { object, kind, parents, ...rules, badRef, backends, findings: notes.findings }
}

/** `<namespace>/<name>` of the Service that all parents name; '': there is more than one, or another kind. */
function onlyService(parents: readonly ParentRef[]): string {
  const named = new Set(
    parents.map(({ group, kind, namespace, name }) =>
      kind === 'Service' && (group === '' || group === 'core') ? `${namespace}/${name}` : '',
    ),
  )
  const [only = ''] = named
  return named.size === 1 ? only : ''
}

function l4Rules(
  spec: Fields,
  kind: RouteKind,
  reading: RouteReading,
  serverNames: readonly string[],
): Pick<RulesPart, 'rules' | 'entries' | 'tcp' | 'tls' | 'refused'> {
  const { parts, refused } = readGatewayTcpRules(spec, reading, serverNames)
  const isTls = kind === 'TLSRoute'
  return { rules: [], entries: [], tcp: isTls ? [] : parts, tls: isTls ? parts : [], refused }
}

function readParent(ref: Fields, object: ConfigObject, reading: RouteReading): ParentRef {
  const before = reading.mistakes
  reading.allow(ref, PARENT_FIELDS)
  const raw = Object.fromEntries(ref.keys().map((key) => [key, ref.raw(key)]))
  const read = {
    group: ref.raw('group') === undefined ? GATEWAY_GROUP : ref.text('group'),
    kind: ref.text('kind', 'Gateway'),
    namespace: ref.text('namespace') || object.metadata.namespace,
    name: ref.text('name'),
    port: ref.integer('port', 1, MAX_PORT) ?? 0,
    sectionName: ref.text('sectionName'),
    path: ref.path,
    raw,
  }
  return { ...read, isUnreadable: reading.mistakes > before }
}
