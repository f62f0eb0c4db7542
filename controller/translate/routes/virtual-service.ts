// SPDX-License-Identifier: Apache-2.0
// VirtualServices, as far as they are for clients in the mesh: rules in the order in which they stand. SPEC ISTIO-API
// VirtualService. TrafficSplits of SMI, which say a part of the same.
import type { ConfigObject } from '../../watch/config-object.ts'
import { Fields } from '../fields.ts'
import { quote } from '../notes.ts'
import { originOf, REFUSED } from './gateway-rules.ts'
import {
  type BackendInit,
  type EntryPart,
  type FindBackend,
  type HttpRuleInit,
  type MatchInit,
  RouteReading,
  type RulesPart,
  type TcpPart,
} from './route-part.ts'
import { shareThousandths } from './route-values.ts'
import { readDestinations, readResilience, readRewrite, readVirtualFilters } from './virtual-actions.ts'
import { isOfMesh, readConnectionMatches, readVirtualMatches } from './virtual-match.ts'

/** Rules for hosts. */
export interface HostPart extends RulesPart {
  readonly family: 'VirtualService' | 'TrafficSplit'
  /** As they were written; `*.x` and `*` too. */
  readonly hosts: readonly string[]
  /** Namespaces of the callers that it is for; null: all. */
  readonly consumers: readonly string[] | null
}

const SPEC_FIELDS = ['hosts', 'gateways', 'http', 'tls', 'tcp', 'exportTo']
const RULE_FIELDS = [
  ...[
    'name',
    'match',
    'route',
    'redirect',
    'directResponse',
    'rewrite',
    'timeout',
    'retries',
    'fault',
    'headers',
  ],
  ...['mirror', 'mirrors', 'mirrorPercent', 'mirror_percent', 'mirrorPercentage', 'corsPolicy'],
]

export function readVirtualService(object: ConfigObject, find: FindBackend): HostPart {
  const reading = new RouteReading(object, find)
  const spec = new Fields(object.spec, 'spec', reading.notes)
  reading.allow(spec, SPEC_FIELDS)
  const hosts = isOfMesh(spec) ? spec.texts('hosts').map(({ text }) => text) : []
  if (!isOfMesh(spec))
    reading.noteUnserved(spec, { gateways: 'add mesh where callers of the mesh are meant' })
  const http = readHttp(spec, reading)
  const part = {
    ...{ object, family: 'VirtualService' as const, hosts, consumers: consumersOf(spec, object), ...http },
    tcp: readConnections(spec, 'tcp', reading),
    tls: readConnections(spec, 'tls', reading),
  }
  const backends = [...reading.backends].toSorted()
  return { ...part, badRef: reading.badRef, backends, findings: reading.notes.findings }
}

function consumersOf(spec: Fields, { metadata }: ConfigObject): string[] | null {
  const names = spec.texts('exportTo').map(({ text }) => (text === '.' ? metadata.namespace : text))
  return names.length === 0 || names.includes('*') ? null : [...new Set(names)].toSorted()
}

type HttpPart = Pick<RulesPart, 'rules' | 'entries' | 'refused'>

function readHttp(spec: Fields, reading: RouteReading): HttpPart {
  const rules: HttpRuleInit[] = []
  const entries: EntryPart[] = []
  let count = 0
  const items = spec.items('http')
  for (const [index, rule] of items.entries()) {
    const before = reading.mistakes
    const matches = readVirtualMatches(rule, reading)
    if (matches === null) continue
    reading.allow(rule, RULE_FIELDS)
    const filters = readVirtualFilters(rule, reading)
    const rewrite = readRewrite(rule, reading)
    const settings = readResilience(rule, reading)
    const isBroken = reading.mistakes > before
    const backends = readDestinations(rule, reading)
    const origin = originOf(reading, rule, index)
    if (isBroken) count++
    // What a rewrite replaces depends on how the path was matched, so that there is a rule for each way.
    const byWay = new Map<boolean, number>()
    for (const { match, port } of matches) {
      const isByPrefix = rewrite !== null && !isWhole(match)
      if (!byWay.has(isByPrefix)) {
        byWay.set(isByPrefix, rules.length)
        const all = [...filters, ...(rewrite?.(isByPrefix) ?? [])]
        rules.push(isBroken ? { origin, broken: REFUSED } : { origin, backends, filters: all, ...settings })
      }
      entries.push({
        match: isByPrefix && match.path === undefined ? { ...match, path: ROOT } : match,
        ...{ rule: byWay.get(isByPrefix) ?? 0, rank: [], port },
      })
    }
  }
  return { rules, entries, refused: { count, of: items.length, first: count === 0 ? '' : REFUSED } }
}

/** SPEC ISTIO-API: without `uri` a rule is for the prefix `/`, which a rewrite replaces. */
const ROOT: MatchInit['path'] = { kind: { case: 'characterPrefix', value: '/' } }

function isWhole({ path }: MatchInit): boolean {
  return path?.kind?.case === 'exact' || path?.kind?.case === 'regex'
}

function readConnections(spec: Fields, form: 'tcp' | 'tls', reading: RouteReading): TcpPart[] {
  return spec.items(form).flatMap((rule, index) => {
    const before = reading.mistakes
    const matches = readConnectionMatches(rule, form, reading)
    reading.allow(rule, ['name', 'match', 'route'])
    const isBroken = reading.mistakes > before
    const backends = isBroken ? [{ weight: 1, broken: REFUSED }] : readDestinations(rule, reading)
    const origin = originOf(reading, rule, index)
    return matches.map(({ port, rule: match }) => ({ port, rule: { ...match, origin, backends } }))
  })
}

/** SPEC SMI TrafficSplit v1alpha2 to v1alpha4: shares of a service's traffic, whatever it speaks. */
export function readTrafficSplit(object: ConfigObject, find: FindBackend): HostPart {
  const reading = new RouteReading(object, find)
  const spec = new Fields(object.spec, 'spec', reading.notes)
  reading.allow(spec, ['service', 'backends', 'matches'])
  reading.noteUnserved(spec, {
    matches: 'write an HTTPRoute: a split of some requests only is left out as a whole',
  })
  const isBroken = reading.mistakes > 0
  const { namespace } = object.metadata
  const backends = spec.items('backends').map((each): BackendInit => {
    const before = reading.mistakes
    reading.allow(each, ['service', 'weight'])
    const weight = shareThousandths(each.raw('weight'))
    if (weight === undefined)
      each.notes.add(
        'INVALID_VALUE',
        each.pathOf('weight'),
        'it is no share',
        'write 900m, or a whole number',
      )
    if (reading.mistakes > before) return { weight: 1, broken: 'the backend cannot be acted on' }
    const name = each.text('service')
    const found = reading.find({ by: 'host', namespace, name })
    if (typeof found === 'string') {
      const broken = reading.refuseRef(
        'BackendNotFound',
        each.pathOf('service'),
        `there is no service ${quote(name)}`,
        'create it',
      )
      return { weight: weight ?? 1, broken }
    }
    reading.backends.add(found.key)
    return { weight: weight ?? 0, service: found.key }
  })
  const origin = originOf(reading, spec, 0)
  const split = isBroken ? { origin, broken: REFUSED } : { origin, backends }
  // A split for some requests only is not taken for one of all: nothing of it counts.
  const isPartial = spec.raw('matches') !== undefined
  return {
    ...{ object, family: 'TrafficSplit', hosts: isPartial ? [] : [spec.text('service')], consumers: null },
    rules: [split],
    entries: [{ match: {}, rule: 0, rank: [], port: 0 }],
    tcp: [{ port: 0, rule: { origin, backends: isBroken ? [{ weight: 1, broken: REFUSED }] : backends } }],
    tls: [],
    badRef: reading.badRef,
    refused: { count: 0, of: 1, first: '' },
    backends: [...reading.backends].toSorted(),
    findings: reading.notes.findings,
  }
}
