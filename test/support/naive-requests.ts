// SPDX-License-Identifier: Apache-2.0
// AuthorizationPolicies of requests, decided as their documentation reads: from the text as it was written, without anything of
// the product. Slow on purpose.

/** A policy as its author wrote it. */
export interface RawRequestPolicy {
  readonly name: string
  readonly action: 'ALLOW' | 'DENY' | 'AUDIT'
  readonly isDryRun: boolean
  readonly rules: readonly RawRequestRule[]
}
type Lists = Readonly<Record<string, readonly string[]>>
export interface RawRequestRule {
  readonly from?: readonly { readonly source: Lists }[]
  readonly to?: readonly { readonly operation: Lists }[]
  readonly when?: readonly {
    readonly key: string
    readonly values?: readonly string[]
    readonly notValues?: readonly string[]
  }[]
}

/** A request in plain words; '' is missing. */
export interface NaiveRequest {
  readonly principal: string
  readonly sourceIp: string
  readonly remoteIp: string
  readonly destinationIp: string
  readonly destinationPort: number
  readonly host: string
  readonly port: string
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly claims: Readonly<Record<string, unknown>> | null
}

/** Namespace where every policy stands. */
export const NAIVE_HOME = 'shop'

export function naiveRequestVerdict(
  policies: readonly RawRequestPolicy[],
  request: NaiveRequest,
  isConnection: boolean,
): { code: string; notes: number } {
  const enforced = policies.filter(({ isDryRun }) => !isDryRun)
  const matching = policies.filter((policy) =>
    policy.rules.some((rule) => isRuleTrue(policy, rule, request, isConnection)),
  )
  const has = (list: readonly RawRequestPolicy[], action: string): boolean =>
    list.some((each) => each.action === action)
  const tried = policies.filter(({ isDryRun, action }) => isDryRun && action !== 'AUDIT')
  let notes = matching.filter(({ action }) => action === 'AUDIT').length
  if (matching.some((each) => tried.includes(each) && each.action === 'DENY')) notes++
  if (has(tried, 'ALLOW') && !matching.some((each) => tried.includes(each) && each.action === 'ALLOW'))
    notes++
  const real = matching.filter(({ isDryRun }) => !isDryRun)
  if (has(real, 'DENY')) return { code: 'POLICY_DENY', notes }
  if (!has(enforced, 'ALLOW')) return { code: 'allowed', notes }
  return { code: has(real, 'ALLOW') ? 'allowed' : 'POLICY_NO_ALLOW', notes }
}

const OF_REQUESTS = /^(?:not)?(?:hosts|methods|paths|requestPrincipals)$/i
const KEYS_OF_REQUESTS = /^request\./

function isRuleTrue(
  { action }: RawRequestPolicy,
  rule: RawRequestRule,
  request: NaiveRequest,
  isConnection: boolean,
): boolean {
  const lists = [
    ...(rule.from ?? []).map(({ source }) => source),
    ...(rule.to ?? []).map(({ operation }) => operation),
  ]
  const looksInside =
    lists.some((each) => Object.keys(each).some((key) => OF_REQUESTS.test(key))) ||
    (rule.when ?? []).some(({ key }) => KEYS_OF_REQUESTS.test(key))
  if (isConnection && looksInside && action !== 'DENY') return false
  const skips = (key: string, pattern: RegExp): boolean => isConnection && pattern.test(key)
  const all = (each: Lists): boolean =>
    Object.entries(each).every(
      ([key, values]) => skips(key, OF_REQUESTS) || isFieldTrue(key, values, request),
    )
  if (rule.from !== undefined && rule.from.length > 0 && !rule.from.some(({ source }) => all(source)))
    return false
  if (rule.to !== undefined && rule.to.length > 0 && !rule.to.some(({ operation }) => all(operation)))
    return false
  for (const { key, values, notValues } of rule.when ?? []) {
    if (skips(key, KEYS_OF_REQUESTS)) continue
    if (values !== undefined && !isOneOf(key, values, request)) return false
    if (notValues !== undefined && isOneOf(key, notValues, request)) return false
  }
  return true
}

function isFieldTrue(field: string, values: readonly string[], request: NaiveRequest): boolean {
  if (!field.startsWith('not')) return isOneOf(field, values, request)
  const name = field.slice(3)
  return !isOneOf(name.charAt(0).toLowerCase() + name.slice(1), values, request)
}

function isOneOf(what: string, values: readonly string[], request: NaiveRequest): boolean {
  return values.some((value) => isValue(what, value, request))
}

function isValue(what: string, value: string, request: NaiveRequest): boolean {
  const [, , namespace = '', , account = ''] = request.principal.split('/')
  const claims = request.claims ?? {}
  switch (what) {
    case 'principals':
    case 'source.principal':
      return like(request.principal, value)
    case 'namespaces':
    case 'source.namespace':
      return like(namespace, value)
    case 'serviceAccounts':
      return (
        request.principal !== '' &&
        `${namespace}/${account}` === (value.includes('/') ? value : `${NAIVE_HOME}/${value}`)
      )
    case 'ipBlocks':
    case 'source.ip':
      return inRange(request.sourceIp, value)
    case 'remoteIpBlocks':
    case 'remote.ip':
      return inRange(request.remoteIp, value)
    case 'destination.ip':
      return inRange(request.destinationIp, value)
    case 'ports':
    case 'destination.port':
      return request.destinationPort === Number(value)
    case 'hosts':
      return [request.host, `${request.host}${request.port}`].some((host) =>
        like(host.toLowerCase(), value.toLowerCase()),
      )
    case 'methods':
      return like(request.method, value)
    case 'paths':
      return value.includes('{') ? isTemplate(request.path, value) : like(request.path, value)
    case 'requestPrincipals':
    case 'request.auth.principal':
      return (
        typeof claims.iss === 'string' &&
        typeof claims.sub === 'string' &&
        like(`${claims.iss}/${claims.sub}`, value)
      )
    case 'request.auth.audiences':
      return texts(claims.aud).some((each) => like(each, value))
    case 'request.auth.presenter':
      return typeof claims.azp === 'string' && like(claims.azp, value)
    case 'connection.sni':
      return false
  }
  const [, kind = '', names = ''] = /^request\.(headers|auth\.claims)(\[.*\])$/.exec(what) ?? []
  const path = [...names.matchAll(/\[([^\]]*)\]/g)].map(([, name = '']) => name)
  if (kind === 'headers') return like(request.headers[(path[0] ?? '').toLowerCase()] ?? '', value)
  let claim: unknown = claims
  for (const name of path)
    claim = typeof claim === 'object' && claim !== null ? new Map(Object.entries(claim)).get(name) : undefined
  const spaced =
    path.length === 1 && ['scope', 'permission'].includes(path[0] ?? '') && typeof claim === 'string'
  return (spaced ? String(claim).split(' ') : texts(claim)).some((each) => like(each, value))
}

function texts(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  return Array.isArray(value) ? value.flatMap((each) => (typeof each === 'string' ? [each] : [])) : []
}

function like(text: string, pattern: string): boolean {
  if (text === '') return false
  if (pattern === '*') return true
  if (pattern.startsWith('*')) return text.slice(-(pattern.length - 1)) === pattern.slice(1)
  if (pattern.endsWith('*')) return text.slice(0, pattern.length - 1) === pattern.slice(0, -1)
  return text === pattern
}

function isTemplate(path: string, template: string): boolean {
  const expression = template
    .split(/(\{\*\*\}|\{\*\})/)
    .map((part) =>
      part === '{**}' ? '.*' : part === '{*}' ? '[^/]+' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'),
    )
  return new RegExp(`^${expression.join('')}$`, 's').test(path)
}

/** IPv4 alone: what other addresses are is the matter of test/mesh/net/cidr.ts. */
function inRange(ip: string, range: string): boolean {
  if (ip === '') return false
  const bits = (text: string): string =>
    text
      .split('.')
      .map((part) => Number(part).toString(2).padStart(8, '0'))
      .join('')
  const [network = '', length = '32'] = range.split('/')
  return bits(ip).slice(0, Number(length)) === bits(network).slice(0, Number(length))
}
