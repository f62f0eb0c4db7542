// SPDX-License-Identifier: Apache-2.0
// Istio's AuthorizationPolicies a second time, straight from what a user wrote, without a line shared with the
// translation: the oracle of its property test. Three values: what needs layer 7 or cannot be read is "maybe", and only
// what is surely allowed may be allowed.
import { BlockList, isIP } from 'node:net'

type Tri = 'no' | 'maybe' | 'yes'
type RawMap = Readonly<Record<string, unknown>>

/** A policy as it stands in a file. */
export interface RawPolicy {
  readonly namespace: string
  readonly isDryRun: boolean
  readonly spec: RawMap
}

/** The pod that is called. */
export interface NaivePod {
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  /** Name of a service without waypoint in front of it, and its ports on the pod. */
  readonly service: string
  readonly servicePorts: readonly number[]
}

export interface NaiveCall {
  readonly sourceIp: string
  readonly destinationIp: string
  readonly destinationPort: number
  readonly identity: { trustDomain: string; namespace: string; serviceAccount: string } | null
}

const ROOT = 'istio-system'

/** True when Istio would allow the connection whatever the unreadable parts and layer 7 turn out to be. */
export function isSurelyAllowed(policies: readonly RawPolicy[], pod: NaivePod, call: NaiveCall): boolean {
  const enforced = policies.filter(({ isDryRun }) => !isDryRun)
  const plain = enforced.filter(({ spec }) => !hasTarget(spec))
  const targeted = enforced.filter((each) => hasTarget(each.spec) && isAboutService(each, pod, call) !== 'no')
  // Each place of enforcement decides alone: ztunnel, and what the waypoint would have been.
  return isAllowedBySet(plain, pod, call) && isAllowedBySet(targeted, pod, call)
}

function isAllowedBySet(policies: readonly RawPolicy[], pod: NaivePod, call: NaiveCall): boolean {
  let hasAllow = false
  let isAllowed = false
  for (const policy of policies) {
    const applies = hasTarget(policy.spec) ? isAboutService(policy, pod, call) : isSelected(policy, pod)
    if (applies === 'no') continue
    const action = policy.spec.action ?? 'ALLOW'
    if (action === 'AUDIT') continue
    const matches = isBrokenSpec(policy.spec) ? 'maybe' : rulesMatch(policy, call)
    if (action === 'ALLOW') {
      hasAllow = true
      if (applies === 'yes' && matches === 'yes') isAllowed = true
    } else if (action === 'DENY' || action === 'CUSTOM') {
      if (matches !== 'no') return false
    } else return false
  }
  return isAllowed || !hasAllow
}

function hasTarget(spec: RawMap): boolean {
  const refs = spec.targetRefs ?? []
  return !Array.isArray(refs) || refs.length > 0
}

/** Targets are lists of services of the policy's namespace here; a selector beside them makes them unreadable. */
function isAboutService(policy: RawPolicy, pod: NaivePod, call: NaiveCall): Tri {
  if (policy.namespace !== pod.namespace) return 'no'
  const refs = policy.spec.targetRefs
  if (!Array.isArray(refs) || (policy.spec.selector ?? null) !== null) return 'maybe'
  const hits = refs.map((ref: unknown): Tri => {
    if (!isMap(ref) || ref.kind !== 'Service' || typeof ref.name !== 'string') return 'maybe'
    return ref.name === pod.service && pod.servicePorts.includes(call.destinationPort) ? 'yes' : 'no'
  })
  return or(hits)
}

function isSelected(policy: RawPolicy, pod: NaivePod): Tri {
  if (policy.namespace !== pod.namespace && policy.namespace !== ROOT) return 'no'
  const selector = policy.spec.selector ?? {}
  if (!isMap(selector)) return 'maybe'
  const labels = selector.matchLabels ?? {}
  if (!isMap(labels) || Object.keys(selector).some((key) => key !== 'matchLabels')) return 'maybe'
  const found = Object.entries(labels).map(([key, value]): Tri => {
    if (typeof value !== 'string') return 'maybe'
    return pod.labels[key] === value ? 'yes' : 'no'
  })
  // A selector that cannot be read might select this pod even if another label does not.
  return found.includes('maybe') ? 'maybe' : and(found)
}

function isBrokenSpec(spec: RawMap): boolean {
  const known = ['selector', 'targetRefs', 'rules', 'action', 'provider']
  return Object.keys(spec).some((key) => !known.includes(key))
}

function rulesMatch({ spec, namespace }: RawPolicy, call: NaiveCall): Tri {
  const rules = spec.rules ?? []
  if (!Array.isArray(rules)) return 'maybe'
  return or(rules.map((rule: unknown) => ruleMatches(rule, namespace, call)))
}

function ruleMatches(rule: unknown, home: string, call: NaiveCall): Tri {
  if (!isMap(rule)) return 'maybe'
  const isKnown = Object.keys(rule).every((key) => ['from', 'to', 'when'].includes(key))
  return and([
    isKnown ? 'yes' : 'maybe',
    anyOf(rule.to, (entry) => inner(entry, 'operation', home, call)),
    anyOf(rule.from, (entry) => inner(entry, 'source', home, call)),
    allOf(rule.when, (condition) => conditionMatches(condition, home, call)),
  ])
}

function anyOf(list: unknown, test: (entry: RawMap) => Tri): Tri {
  if (list === undefined || list === null) return 'yes'
  if (!Array.isArray(list)) return 'maybe'
  return list.length === 0 ? 'yes' : or(list.map((each: unknown) => (isMap(each) ? test(each) : 'maybe')))
}

function allOf(list: unknown, test: (entry: RawMap) => Tri): Tri {
  if (list === undefined || list === null) return 'yes'
  if (!Array.isArray(list)) return 'maybe'
  return and(list.map((each: unknown) => (isMap(each) ? test(each) : 'maybe')))
}

type Test = (text: string, home: string, call: NaiveCall) => Tri

const ATTRIBUTES: Readonly<Record<string, Test>> = {
  principals: (text, _, call) => stringHits(text, principalOf(call)),
  namespaces: (text, _, call) => stringHits(text, call.identity?.namespace ?? ''),
  serviceAccounts: accountHits,
  ipBlocks: (text, _, call) => blockHits(text, call.sourceIp),
  ports: (text, _, call) => portHits(text, call.destinationPort),
}

const NAMES: Readonly<Record<string, readonly string[]>> = {
  source: ['principals', 'namespaces', 'serviceAccounts', 'ipBlocks'],
  operation: ['ports'],
}

function inner(entry: RawMap, key: string, home: string, call: NaiveCall): Tri {
  const fields = entry[key]
  const set = isMap(fields) ? Object.entries(fields).filter(([, value]) => value !== null) : []
  if (set.length === 0) return 'maybe'
  const isKnown = Object.keys(entry).every((each) => each === key)
  const results = set.map(([field, list]): Tri => {
    const isNegative = field.startsWith('not')
    const name = isNegative ? `${field.charAt(3).toLowerCase()}${field.slice(4)}` : field
    const test = NAMES[key]?.includes(name) ? ATTRIBUTES[name] : undefined
    if (test === undefined || !Array.isArray(list) || list.length === 0) return 'maybe'
    return listMatches(list, isNegative, (text) => test(text, home, call))
  })
  return and([isKnown ? 'yes' : 'maybe', ...results])
}

const CONDITIONS: Readonly<Record<string, Test>> = {
  'source.ip': (text, _, call) => blockHits(text, call.sourceIp),
  'source.namespace': (text, _, call) => stringHits(text, call.identity?.namespace ?? ''),
  'source.principal': (text, _, call) => stringHits(text, principalOf(call)),
  'destination.ip': (text, _, call) => blockHits(text, call.destinationIp),
  'destination.port': (text, _, call) => portHits(text, call.destinationPort),
}

function conditionMatches(condition: RawMap, home: string, call: NaiveCall): Tri {
  const test = typeof condition.key === 'string' ? CONDITIONS[condition.key] : undefined
  if (test === undefined) return 'maybe'
  const { values, notValues } = condition
  if (Object.keys(condition).some((each) => !['key', 'values', 'notValues'].includes(each))) return 'maybe'
  if ((values ?? null) === null && (notValues ?? null) === null) return 'maybe'
  const part = (list: unknown, isNegative: boolean): Tri => {
    if (list === undefined || list === null) return 'yes'
    if (!Array.isArray(list) || list.length === 0) return 'maybe'
    return listMatches(list, isNegative, (text) => test(text, home, call))
  }
  return and([part(values, false), part(notValues, true)])
}

function listMatches(list: readonly unknown[], isNegative: boolean, test: (text: string) => Tri): Tri {
  const hits = list.map((each): Tri => (typeof each === 'string' ? test(each) : 'maybe'))
  // A list of which one member cannot be read says nothing for sure, except where it excludes already.
  const hit = hits.includes('maybe') && !(isNegative && hits.includes('yes')) ? 'maybe' : or(hits)
  return isNegative ? not(hit) : hit
}

function principalOf({ identity }: NaiveCall): string {
  return identity === null
    ? ''
    : `${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`
}

function stringHits(pattern: string, text: string): Tri {
  if (pattern === '') return 'maybe'
  if (pattern === '*') return text === '' ? 'no' : 'yes'
  const regular = pattern.startsWith('*')
    ? new RegExp(`${escapePattern(pattern.slice(1))}$`)
    : new RegExp(
        pattern.endsWith('*') ? `^${escapePattern(pattern.slice(0, -1))}` : `^${escapePattern(pattern)}$`,
      )
  return regular.test(text) ? 'yes' : 'no'
}

function accountHits(pattern: string, home: string, { identity }: NaiveCall): Tri {
  const [namespace, account, ...more] = pattern.includes('/') ? pattern.split('/') : [home, pattern]
  if (!namespace || !account || more.length > 0 || pattern.includes('*')) return 'maybe'
  return identity?.namespace === namespace && identity.serviceAccount === account ? 'yes' : 'no'
}

function blockHits(block: string, ip: string): Tri {
  const [network = '', length, ...more] = block.split('/')
  const family = isIP(network)
  const bits = family === 4 ? 32 : 128
  const prefix = length === undefined ? bits : /^\d{1,3}$/.test(length) ? Number(length) : 999
  if (family === 0 || prefix > bits || more.length > 0) return 'maybe'
  if (family !== isIP(ip)) return 'no'
  const list = new BlockList()
  list.addSubnet(network, prefix, family === 4 ? 'ipv4' : 'ipv6')
  return list.check(ip, family === 4 ? 'ipv4' : 'ipv6') ? 'yes' : 'no'
}

function portHits(text: string, port: number): Tri {
  if (!/^[1-9]\d{0,4}$/.test(text) || Number(text) > 65_535) return 'maybe'
  return Number(text) === port ? 'yes' : 'no'
}

function and(values: readonly Tri[]): Tri {
  return values.includes('no') ? 'no' : values.includes('maybe') ? 'maybe' : 'yes'
}

function or(values: readonly Tri[]): Tri {
  return values.includes('yes') ? 'yes' : values.includes('maybe') ? 'maybe' : 'no'
}

function not(value: Tri): Tri {
  return value === 'maybe' ? 'maybe' : value === 'yes' ? 'no' : 'yes'
}

function escapePattern(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}

function isMap(value: unknown): value is RawMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
