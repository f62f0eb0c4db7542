// SPDX-License-Identifier: Apache-2.0
// Where a request carries tokens, and what becomes of it when one of them was believed. SPEC ISTIO-API RequestAuthentication:
// as Envoy's jwt_authn, but that a token that is not to be forwarded leaves query and cookies too. Pure.

import type { HeaderList } from '../../mesh/http/header-list.ts'
import type { TokenRule } from '../../proto/generated/sidestep/v1/request_policies_pb.js'
import { claimOf } from './call-facts.ts'

/** Tokens of one request that are looked at; who sends more is refused. */
export const MAX_REQUEST_TOKENS = 8

/** What of a request may hold tokens. */
export interface TokenRequest {
  readonly headers: HeaderList
  /** With its `?`; ''. */
  readonly query: string
}

/** A token that stands where rules look. */
export interface FoundToken {
  readonly text: string
  /** Rules that look there; never empty. */
  readonly rules: readonly TokenRule[]
}

/** A token that was verified. */
export interface BelievedToken {
  readonly text: string
  readonly rule: TokenRule
  readonly claims: Readonly<Record<string, unknown>>
}

/** What stands before the token in `authorization` where a rule says nothing of where it is. */
const BEARER = 'bearer '
const DEFAULT_PARAM = 'access_token'

/** One place of a request. `prefix`: compared without regard to case where `isLoose`. */
interface Place {
  readonly kind: 'header' | 'param' | 'cookie'
  readonly name: string
  readonly prefix: string
  readonly isLoose: boolean
}

interface PlacedRule {
  readonly rule: TokenRule
  readonly places: readonly Place[]
}

/** The token rules of one target. */
export class RequestTokens {
  readonly #rules: readonly PlacedRule[]
  /** Fields that only a verified token may fill. */
  readonly #reserved: ReadonlySet<string>

  constructor(rules: readonly TokenRule[]) {
    this.#rules = rules.map((rule) => ({ rule, places: placesOf(rule) }))
    this.#reserved = new Set(
      rules.flatMap(({ outputPayloadToHeader: payload, outputClaimToHeaders: claims }) => [
        ...(payload === '' ? [] : [payload]),
        ...claims.map(({ header }) => header),
      ]),
    )
  }

  get isEmpty(): boolean {
    return this.#rules.length === 0
  }

  /** Each text once, in the order of the rules. */
  find(request: TokenRequest): FoundToken[] {
    const found = new Map<string, TokenRule[]>()
    for (const { rule, places } of this.#rules)
      for (const place of places)
        for (const text of textsAt(request, place)) {
          const rules = found.get(text)
          if (rules === undefined) found.set(text, [rule])
          else if (!rules.includes(rule)) rules.push(rule)
        }
    return [...found].map(([text, rules]) => ({ text, rules }))
  }

  /** The request as it goes on; null: nobody proved who he is. */
  apply<T extends TokenRequest>(request: T, believed: BelievedToken | null): TokenRequest {
    const hasReserved =
      this.#reserved.size > 0 && request.headers.some((name, at) => at % 2 === 0 && this.#reserved.has(name))
    const clean = hasReserved
      ? { ...request, headers: withoutFields(request.headers, this.#reserved) }
      : request
    if (believed === null) return clean
    const { rule, text, claims } = believed
    const places = rule.forwardsToken ? [] : placesOf(rule)
    const left = places.reduce<TokenRequest>((rest, place) => removeAt(rest, place, text), clean)
    const fields = fieldsOf(rule, text, claims)
    return fields.length === 0 ? left : { headers: [...left.headers, ...fields], query: left.query }
  }
}

function placesOf({ fromHeaders, fromParams, fromCookies }: TokenRule): Place[] {
  const places: Place[] = [
    ...fromHeaders.map(({ name, prefix }) => ({ kind: 'header' as const, name, prefix, isLoose: false })),
    ...fromParams.map((name) => ({ kind: 'param' as const, name, prefix: '', isLoose: false })),
    ...fromCookies.map((name) => ({ kind: 'cookie' as const, name, prefix: '', isLoose: false })),
  ]
  if (places.length > 0) return places
  return [
    { kind: 'header', name: 'authorization', prefix: BEARER, isLoose: true },
    { kind: 'param', name: DEFAULT_PARAM, prefix: '', isLoose: false },
  ]
}

/** The value behind the prefix; null: it has another. */
function behind(value: string, { prefix, isLoose }: Place): string | null {
  const start = value.slice(0, prefix.length)
  return start === prefix || (isLoose && start.toLowerCase() === prefix)
    ? value.slice(prefix.length).trim()
    : null
}

function textsAt({ headers, query }: TokenRequest, place: Place): string[] {
  const texts: (string | null)[] = []
  const { kind, name } = place
  if (kind === 'param')
    for (const part of partsOf(query)) texts.push(nameOf(part) === name ? unescaped(textOf(part)) : null)
  else
    for (let i = 0; i + 1 < headers.length; i += 2) {
      const value = headers[i + 1] ?? ''
      if (kind === 'header') {
        if (headers[i] === name) texts.push(behind(value, place))
      } else if (headers[i] === 'cookie')
        for (const part of value.split(';')) if (nameOf(part.trim()) === name) texts.push(textOf(part.trim()))
    }
  return texts.filter((text): text is string => text !== null && text !== '')
}

/** Every place of the kind that holds this very token. */
function removeAt({ headers, query }: TokenRequest, place: Place, token: string): TokenRequest {
  const { kind, name } = place
  if (kind === 'param') {
    const parts = partsOf(query)
    const kept = parts.filter((part) => nameOf(part) !== name || unescaped(textOf(part)) !== token)
    return kept.length === parts.length
      ? { headers, query }
      : { headers, query: kept.length === 0 ? '' : `?${kept.join('&')}` }
  }
  const kept: string[] = []
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const field = headers[i] ?? ''
    const value = headers[i + 1] ?? ''
    if (kind === 'header') {
      if (field !== name || behind(value, place) !== token) kept.push(field, value)
    } else if (field !== 'cookie') kept.push(field, value)
    else {
      const isTheirs = (part: string): boolean => nameOf(part) !== name || textOf(part) !== token
      const cookies = value
        .split(';')
        .map((part) => part.trim())
        .filter(isTheirs)
      if (cookies.length > 0) kept.push(field, cookies.join('; '))
    }
  }
  return { headers: kept, query }
}

function partsOf(query: string): string[] {
  return query.length < 2 ? [] : query.slice(1).split('&')
}

function nameOf(part: string): string {
  const equals = part.indexOf('=')
  return equals < 0 ? part : part.slice(0, equals)
}

function textOf(part: string): string {
  const equals = part.indexOf('=')
  return equals < 0 ? '' : part.slice(equals + 1)
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function withoutFields(headers: HeaderList, names: ReadonlySet<string>): string[] {
  const kept: string[] = []
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] ?? ''
    if (!names.has(name)) kept.push(name, headers[i + 1] ?? '')
  }
  return kept
}

/** What the service is told of the token. */
function fieldsOf(rule: TokenRule, text: string, claims: Readonly<Record<string, unknown>>): string[] {
  const fields: string[] = []
  if (rule.outputPayloadToHeader !== '') fields.push(rule.outputPayloadToHeader, text.split('.', 2)[1] ?? '')
  for (const { header, path } of rule.outputClaimToHeaders) {
    const value = fieldText(claimOf(claims, path))
    if (value !== null) fields.push(header, value)
  }
  return fields
}

/** null: nothing is said. What is no plain value goes as base64url of its JSON, as Envoy has it. */
function fieldText(value: unknown): string | null {
  if (value === undefined || value === null) return null
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (typeof value === 'string') return /^[\t\x20-\x7e]*$/.test(value) ? value.trim() : encoded(value)
  return encoded(JSON.stringify(value))
}

function encoded(text: string): string {
  return Buffer.from(text).toString('base64url')
}
