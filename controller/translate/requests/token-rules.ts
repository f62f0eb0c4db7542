// SPDX-License-Identifier: Apache-2.0
// RequestAuthentications for waypoints: which tokens are believed, and what becomes of them. A rule that cannot be read
// refuses every token where it looks. SPEC ISTIO-API security/v1 RequestAuthentication.
import type { MessageInitShape } from '@bufbuild/protobuf'
import type { TokenRuleSchema } from '../../../proto/generated/sidestep/v1/request_policies_pb.js'
import type { ConfigObject } from '../../watch/config-object.ts'
import { Fields, isMap } from '../fields.ts'
import { Notes, quote } from '../notes.ts'
import { type PolicyTarget, readTargets } from '../policy-targets.ts'
import { durationMs, istioDuration } from '../routes/route-values.ts'
import type { ConfigFinding } from '../translation.ts'

export type TokenRuleInit = Exclude<MessageInitShape<typeof TokenRuleSchema>, { readonly $typeName: string }>

/** Fields of the kind. */
export const REQUEST_AUTHENTICATION_FIELDS = ['selector', 'targetRef', 'targetRefs', 'jwtRules']
/** Fields of a rule. */
export const JWT_RULE_FIELDS = [
  ...['issuer', 'audiences', 'jwksUri', 'jwks_uri', 'jwks', 'fromHeaders', 'fromParams', 'fromCookies'],
  ...['outputPayloadToHeader', 'outputClaimToHeaders', 'forwardOriginalToken', 'timeout'],
  'spaceDelimitedClaims',
]

/** One object. */
export interface TokenPart {
  readonly object: ConfigObject
  readonly targets: readonly PolicyTarget[]
  /** It names no target: it is for the services of its namespace, or of the mesh where that is the root namespace. */
  readonly isWide: boolean
  readonly rules: readonly TokenRuleInit[]
  readonly isBroken: boolean
  readonly findings: readonly ConfigFinding[]
}

/** `timeout` of a token rule: more is a mistake of units. */
const MAX_FETCH_MS = 60_000

/** Reads one RequestAuthentication. */
export function readRequestAuthentication(object: ConfigObject): TokenPart {
  const notes = new Notes(object)
  const spec = new Fields(object.spec, 'spec', notes)
  spec.refuseUnknown(REQUEST_AUTHENTICATION_FIELDS)
  const isSpecBroken = notes.errors > 0
  const { targets, isBroken } = readTargets(spec, object.metadata.namespace)
  const hasSelector = spec.raw('selector') !== undefined
  if (hasSelector) {
    const message = 'waypoints have no labels of workloads; the selector selects nothing'
    notes.add('INVALID_VALUE', 'spec.selector', message, 'use targetRefs')
  }
  const { namespace, name } = object.metadata
  const rules = spec.list('jwtRules').map(({ value, path }) => {
    const before = notes.errors
    if (!isMap(value)) notes.add('WRONG_TYPE', path, 'expected a map', 'write issuer and jwksUri here')
    const rule = new Fields(isMap(value) ? value : {}, path, notes)
    const read = readRule(rule)
    const isRuleBroken = isSpecBroken || notes.errors > before
    const broken = { case: 'broken' as const, value: `${path} cannot be read` }
    return { ...read, origin: `${namespace}/${name}`, ...(isRuleBroken && { keys: broken }) }
  })
  const isWide = targets.length === 0 && !isBroken && !hasSelector
  return { object, targets, isWide, rules, isBroken: notes.errors > 0, findings: notes.findings }
}

function readRule(rule: Fields): TokenRuleInit {
  rule.refuseUnknown(JWT_RULE_FIELDS)
  const issuer = rule.text('issuer')
  if (issuer === '')
    rule.notes.add(
      'INVALID_VALUE',
      rule.pathOf('issuer'),
      'the rule has no issuer',
      'write the iss of tokens',
    )
  if (rule.raw('spaceDelimitedClaims') !== undefined)
    rule.notes.add(
      'INVALID_VALUE',
      rule.pathOf('spaceDelimitedClaims'),
      'only scope and permission are split at spaces',
      'remove the field',
    )
  const timeout = istioDuration(rule, 'timeout')
  if (timeout !== undefined && (durationMs(timeout) <= 0 || durationMs(timeout) > MAX_FETCH_MS))
    rule.notes.add('INVALID_VALUE', rule.pathOf('timeout'), 'the time is not up to 60s', 'write 5s')
  return {
    issuer,
    audiences: rule.texts('audiences').map(({ text }) => text),
    keys: readKeys(rule),
    fromHeaders: rule.items('fromHeaders').map((each) => {
      const name = readHeader(each, 'name')
      return { name, prefix: each.text('prefix') }
    }),
    fromParams: rule.texts('fromParams').map(({ text }) => text),
    fromCookies: rule.texts('fromCookies').map(({ text }) => text),
    outputPayloadToHeader:
      rule.raw('outputPayloadToHeader') === undefined ? '' : readHeader(rule, 'outputPayloadToHeader'),
    outputClaimToHeaders: rule.items('outputClaimToHeaders').map((each) => {
      const claim = each.text('claim')
      if (claim === '') each.notes.add('INVALID_VALUE', each.pathOf('claim'), 'there is no claim', 'name one')
      return { header: readHeader(each, 'header'), path: claim.split('.') }
    }),
    forwardsToken: rule.flag('forwardOriginalToken'),
    ...(timeout !== undefined && { timeout }),
  }
}

function readHeader(fields: Fields, key: string): string {
  const name = fields.text(key)
  if (/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name)) return name.toLowerCase()
  fields.notes.add('INVALID_VALUE', fields.pathOf(key), `${quote(name)} is no name of a header`, 'write one')
  return ''
}

function readKeys(rule: Fields): NonNullable<TokenRuleInit['keys']> {
  const [uri, inline] = [rule.text('jwksUri') || rule.text('jwks_uri'), rule.text('jwks')]
  const refuse = (key: string, message: string, fix: string): { case: 'broken'; value: string } => {
    rule.notes.add('INVALID_VALUE', rule.pathOf(key), message, fix)
    return { case: 'broken', value: message }
  }
  if (inline !== '') {
    const isSet = hasKeys(inline)
    return isSet
      ? { case: 'jwks', value: inline }
      : refuse('jwks', 'it is no JSON Web Key Set', 'write {"keys": […]}')
  }
  if (uri === '') return refuse('jwksUri', 'the rule has neither jwksUri nor jwks', 'write one of them')
  const isUrl = URL.canParse(uri) && ['http:', 'https:'].includes(new URL(uri).protocol)
  return isUrl
    ? { case: 'jwksUri', value: uri }
    : refuse('jwksUri', `${quote(uri)} is no address`, 'write https://…')
}

function hasKeys(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text)
    return isMap(value) && Array.isArray(value.keys)
  } catch {
    return false
  }
}
