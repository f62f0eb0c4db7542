// SPDX-License-Identifier: Apache-2.0
// What an authorization policy may ask of a connection, and of a request on it.
import type { RequestFacts } from './request-facts.ts'

/** A connection of a caller. */
export interface CallFacts {
  /** Without `spiffe://`; '': nobody knows. */
  readonly principal: string
  /** Of the principal; ''. */
  readonly namespace: string
  /** `<namespace>/<name>` of the principal; ''. */
  readonly serviceAccount: string
  /** Address of the caller. */
  readonly sourceIp: string
  /** '': it was asked for by name. */
  readonly destinationIp: string
  readonly destinationPort: number
  /** ''. */
  readonly serverName: string
  /** null: it is decided about the connection itself. */
  readonly request: RequestCall | null
}

/** A request of a caller. */
export interface RequestCall {
  readonly facts: RequestFacts
  /** Who sent it first, as the last proxy in front of the mesh says. */
  readonly remoteIp: string
  /** null: no token. */
  readonly token: TokenFacts | null
}

/** A token that was verified. */
export interface TokenFacts {
  /** `<issuer>/<subject>`; '': it lacks one of them. */
  readonly principal: string
  readonly audiences: readonly string[]
  /** `azp`; ''. */
  readonly presenter: string
  readonly claims: Readonly<Record<string, unknown>>
}

/** By claims: those of a verdict are one object as long as it is kept. */
const known = new WeakMap<object, TokenFacts>()

/** Of claims that were verified. */
export function tokenFacts(claims: Readonly<Record<string, unknown>>): TokenFacts {
  const kept = known.get(claims)
  if (kept !== undefined) return kept
  const facts = readClaims(claims)
  known.set(claims, facts)
  return facts
}

function readClaims(claims: Readonly<Record<string, unknown>>): TokenFacts {
  const { iss, sub, aud, azp } = claims
  return {
    principal:
      typeof iss === 'string' && typeof sub === 'string' && iss !== '' && sub !== '' ? `${iss}/${sub}` : '',
    audiences: textsOf(aud),
    presenter: typeof azp === 'string' ? azp : '',
    claims,
  }
}

/** Claims that are lists in one text. SPEC ISTIO-API spaceDelimitedClaims: as default. */
const SPACED = new Set(['scope', 'permission'])

/** The texts of a claim: its own, or those of its list; of no other value. `path`: outermost name first. */
export function claimTexts({ claims }: TokenFacts, path: readonly string[]): readonly string[] {
  const value = claimOf(claims, path)
  const [name = ''] = path
  const isSpaced = path.length === 1 && SPACED.has(name) && typeof value === 'string'
  return isSpaced ? value.split(' ').filter((each) => each !== '') : textsOf(value)
}

/** undefined: it is not there. */
export function claimOf(claims: Readonly<Record<string, unknown>>, path: readonly string[]): unknown {
  let value: unknown = claims
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as Readonly<Record<string, unknown>>)[name] // as: an object has names
  }
  return value
}

const NONE: readonly string[] = []

function textsOf(value: unknown): readonly string[] {
  if (typeof value === 'string') return [value]
  return Array.isArray(value) ? value.filter((each): each is string => typeof each === 'string') : NONE
}
