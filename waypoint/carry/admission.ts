// SPDX-License-Identifier: Apache-2.0
// Lets a request in, or not: its tokens are verified, then its target's policies are asked. What is decided afterwards sees the
// request as it goes on. Answers at once where nothing has to be asked of main.
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import { parseIp } from '../../mesh/net/address.ts'
import { tokenFacts } from '../decide/call-facts.ts'
import type { CanonicalTarget } from '../decide/canonical-path.ts'
import { type Caller, RequestFacts } from '../decide/request-facts.ts'
import {
  type BelievedToken,
  type FoundToken,
  MAX_REQUEST_TOKENS,
  type TokenRequest,
} from '../decide/request-tokens.ts'
import type { TokenVerdict } from '../tokens/token-verifier.ts'
import type { ExchangeSource } from './exchange.ts'

/** A request that was decided about. */
export interface Admission {
  readonly facts: RequestFacts
  /** null: it is let in. */
  readonly refusal: Refusal | null
  /** null: it has no token, or none that was looked at. */
  readonly believed: BelievedToken | null
  /** What decided: `<namespace>/<name>[<rule>]`; ''. */
  readonly policy: string
  /** What was only recorded: see Verdict. */
  readonly notes: readonly string[]
}

/** `onAdmitted` is called once, perhaps before this returns. */
export function admitRequest(
  source: ExchangeSource,
  headers: HeaderList,
  target: CanonicalTarget,
  onAdmitted: (admission: Admission) => void,
): void {
  const { guard } = source.target
  const { caller } = source
  if (guard.isOpen) {
    const facts = new RequestFacts(headers, target, caller)
    onAdmitted({ facts, refusal: null, believed: null, policy: '', notes: [] })
    return
  }
  const request = { headers, query: target.query }
  const decide = (left: TokenRequest, believed: BelievedToken | null, refusal: Refusal | null): void => {
    const facts = factsOf(left, target, caller)
    if (refusal === null) onAdmitted(authorize(source, facts, believed))
    else onAdmitted({ facts, refusal, believed: null, policy: '', notes: [] })
  }
  if (guard.tokens.isEmpty) {
    decide(request, null, null)
    return
  }
  const found = guard.tokens.find(request)
  if (found.length > MAX_REQUEST_TOKENS) decide(request, null, refuse('JWT_INVALID', 'too many tokens'))
  else
    verifyOne(source, found, null, (believed, refusal) =>
      decide(guard.tokens.apply(request, believed), believed, refusal),
    )
}

/**
 * Asks again, by the policies of now, about one that was let in and goes on. What its token said then counts as long as some rule
 * is for it, though it may have ended meanwhile: as long as nothing else changes, nobody asks about that either.
 */
export function admitAgain(
  source: ExchangeSource,
  headers: HeaderList,
  target: CanonicalTarget,
  believed: BelievedToken | null,
  onAdmitted: (admission: Admission) => void,
): void {
  const { tokens } = source.target.guard
  const request = { headers, query: target.query }
  const isFor = ({ text, rules }: FoundToken): boolean =>
    text === believed?.text && rules.some(({ issuer }) => issuer === believed.rule.issuer)
  if (believed === null || !tokens.find(request).some(isFor))
    admitRequest(source, headers, target, onAdmitted)
  else
    onAdmitted(authorize(source, factsOf(tokens.apply(request, believed), target, source.caller), believed))
}

function factsOf(left: TokenRequest, { path }: CanonicalTarget, caller: Caller): RequestFacts {
  return new RequestFacts(left.headers, { path, query: left.query }, caller)
}

/** SPEC ENVOY jwt_authn requires_any: one that is believed is enough; else the first refusal counts. */
function verifyOne(
  source: ExchangeSource,
  [first, ...others]: readonly FoundToken[],
  refusal: Refusal | null,
  onVerified: (believed: BelievedToken | null, refusal: Refusal | null) => void,
): void {
  if (first === undefined) {
    onVerified(null, refusal)
    return
  }
  const { text, rules } = first
  source.context.tokens.verify(text, rules, (verdict: TokenVerdict) => {
    const rule = rules[verdict.rule]
    if (verdict.refusal === null && rule !== undefined)
      onVerified({ text, rule, claims: verdict.claims }, null)
    else verifyOne(source, others, refusal ?? verdict.refusal, onVerified)
  })
}

function authorize(
  { target, sender }: ExchangeSource,
  facts: RequestFacts,
  believed: BelievedToken | null,
): Admission {
  const token = believed === null ? null : tokenFacts(believed.claims)
  const remoteIp = remoteIpOf(facts) ?? sender.ip
  const { code, policy, notes } = target.guard.authorize(sender, { facts, remoteIp, token })
  return { facts, refusal: code === null ? null : refuse(code, policy), believed, policy, notes }
}

/** SPEC ENVOY remote_ip: whom the last proxy before the mesh names. */
function remoteIpOf(facts: RequestFacts): string | undefined {
  const forwarded = facts.header('x-forwarded-for')
  if (forwarded === undefined) return undefined
  return parseIp(forwarded.slice(forwarded.lastIndexOf(',') + 1).trim())
}
