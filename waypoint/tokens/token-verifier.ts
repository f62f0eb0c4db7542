// SPDX-License-Identifier: Apache-2.0
// Verifies JSON Web Tokens for the workers, with jose: it is loaded when the first token comes. Only signatures with a private
// key are believed: `none` and shared secrets are no proof, least of all with a public key for the secret.
import type { JSONWebKeySet, JWTPayload, JWTVerifyOptions } from 'jose'
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { Clock } from '../../mesh/runtime/clock.ts'
import type { TokenRule } from '../../proto/generated/sidestep/v1/request_policies_pb.js'
import { parseKeySet } from './fetch-keys.ts'
import type { KeySets } from './key-sets.ts'
import { MAX_TOKEN_CHARS, REFUSED_TOKEN_KEPT_MS, TOKEN_KEPT_MS, TOKEN_SKEW_SECONDS } from './limits.ts'

/** What became of a token. */
export interface TokenVerdict {
  /** null: it is believed. */
  readonly refusal: Refusal | null
  /** Which of the rules believes it. */
  readonly rule: number
  readonly claims: Readonly<Record<string, unknown>>
  /** The verdict holds so long. */
  readonly keptMs: number
}

/** SPEC RFC8725 §3.1, §3.2: the algorithms are ours to name. */
const ALGORITHMS = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
]

type Jose = typeof import('jose')

export class TokenVerifier {
  readonly #keys: KeySets
  readonly #clock: Clock
  /** Keys that were read are kept with their set. */
  readonly #locals = new WeakMap<JSONWebKeySet, ReturnType<Jose['createLocalJWKSet']>>()
  #jose: Promise<Jose> | null = null

  constructor(keys: KeySets, clock: Clock) {
    this.#keys = keys
    this.#clock = clock
  }

  /** By the rules that look where the token stood; the first of its issuer that believes it counts. Never rejects. */
  async verify(token: string, rules: readonly TokenRule[]): Promise<TokenVerdict> {
    if (token.length > MAX_TOKEN_CHARS) return refused(refuse('JWT_INVALID', 'the token is too long'))
    this.#jose ??= import('jose')
    const jose = await this.#jose
    const issuer = issuerOf(jose, token)
    if (isRefusal(issuer)) return refused(issuer)
    let refusal = refuse('JWT_INVALID', 'no rule is for its issuer')
    for (const [index, rule] of rules.entries()) {
      if (rule.keys.case === 'broken') {
        // Of whom it would have been nobody knows.
        refusal = refuse('JWT_UNVERIFIABLE', `${rule.origin}: ${rule.keys.value}`)
        continue
      }
      if (rule.issuer !== issuer) continue
      const claims = await this.#verifyBy(jose, token, rule)
      if (!isRefusal(claims)) return { refusal: null, rule: index, claims, keptMs: this.#keptMs(claims) }
      refusal = claims
    }
    return refused(refusal)
  }

  #keptMs({ exp }: JWTPayload): number {
    const leftMs = exp === undefined ? TOKEN_KEPT_MS : (exp + TOKEN_SKEW_SECONDS) * 1000 - this.#clock.nowMs
    return Math.max(0, Math.min(TOKEN_KEPT_MS, leftMs))
  }

  async #verifyBy(jose: Jose, token: string, rule: TokenRule): Promise<JWTPayload | Refusal> {
    try {
      const set = await this.#setOf(rule)
      const first = await this.#verifyWith(jose, token, rule, set)
      if (first !== null) return first
      const newer =
        rule.keys.case === 'jwksUri' ? await this.#keys.getNewer(rule.keys.value, timeoutOf(rule), set) : null
      const second = newer === null ? null : await this.#verifyWith(jose, token, rule, newer)
      return second ?? refuse('JWT_INVALID', `${rule.origin}: no key of its issuer fits`)
    } catch (error) {
      if (error instanceof jose.errors.JOSEError)
        return refuse('JWT_INVALID', `${rule.origin}: ${error.code}`)
      if (error instanceof MeshError) return refuse(error.code, `${rule.origin}: ${error.detail}`)
      // A key that looks right and is none: WebCrypto says so in errors of its own.
      return refuse(
        'JWT_UNVERIFIABLE',
        `${rule.origin}: ${error instanceof Error ? error.message : 'unknown'}`,
      )
    }
  }

  async #setOf(rule: TokenRule): Promise<JSONWebKeySet> {
    if (rule.keys.case === 'jwksUri') return this.#keys.get(rule.keys.value, timeoutOf(rule))
    return parseKeySet(rule.keys.case === 'jwks' ? rule.keys.value : '', 'the jwks of the rule')
  }

  /** null: the set has no key for it. */
  async #verifyWith(
    jose: Jose,
    token: string,
    rule: TokenRule,
    set: JSONWebKeySet,
  ): Promise<JWTPayload | null> {
    const options: JWTVerifyOptions = {
      ...{ issuer: rule.issuer, algorithms: ALGORITHMS, clockTolerance: TOKEN_SKEW_SECONDS },
      ...(rule.audiences.length > 0 && { audience: [...rule.audiences] }),
      currentDate: new Date(this.#clock.nowMs),
    }
    const local = this.#locals.get(set) ?? jose.createLocalJWKSet(set)
    this.#locals.set(set, local)
    try {
      const { payload } = await jose.jwtVerify(token, local, options)
      return payload
    } catch (error) {
      if (error instanceof jose.errors.JWKSNoMatchingKey) return null
      if (!(error instanceof jose.errors.JWKSMultipleMatchingKeys)) throw error
      // It names no key: one of those that fit has signed it, or none has.
      for await (const key of error) {
        try {
          return (await jose.jwtVerify(token, key, options)).payload
        } catch (inner) {
          if (!(inner instanceof jose.errors.JWSSignatureVerificationFailed)) throw inner
        }
      }
      return null
    }
  }
}

function timeoutOf({ timeout }: TokenRule): number {
  return timeout === undefined ? 0 : Number(timeout.seconds) * 1000 + Math.round(timeout.nanos / 1e6)
}

/** What it says of itself, to find the rule; verified afterwards. */
function issuerOf(jose: Jose, token: string): string | Refusal {
  try {
    const { iss } = jose.decodeJwt(token)
    return iss ?? refuse('JWT_INVALID', 'the token has no issuer')
  } catch {
    return refuse('JWT_INVALID', 'it is no token')
  }
}

function refused(refusal: Refusal): TokenVerdict {
  return { refusal, rule: -1, claims: {}, keptMs: REFUSED_TOKEN_KEPT_MS }
}
