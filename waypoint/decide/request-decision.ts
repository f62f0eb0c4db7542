// SPDX-License-Identifier: Apache-2.0
// What is done with a request, before anything is sent: answered here, or sent on by a rule. Pure; randomness is an argument.
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import type { HeaderList } from '../../mesh/http/header-list.ts'
import { type CompiledBackend, type CompiledRule, compileRule } from '../filters/compiled-rule.ts'
import { decideFault, type FaultAbort } from '../filters/fault.ts'
import type { RequestFacts } from './request-facts.ts'
import type { MatchedPrefix, RouteHit } from './route-match.ts'

/** Answered by the waypoint as its configuration says. */
export interface LocalAnswer {
  readonly kind: 'answer'
  readonly headers: HeaderList
  readonly body: Uint8Array | null
  readonly delayMs: number
}

/** Answered by the waypoint because something is wrong, or was made to be. */
export interface RefusedRequest {
  readonly kind: 'refused'
  readonly refusal: Refusal
  /** The status to answer with; null: that of the reason. */
  readonly abort: FaultAbort
  readonly delayMs: number
}

/** Sent on. */
export interface Forward {
  readonly kind: 'forward'
  /** null: there are no routes, the service gets it as it is. */
  readonly rule: CompiledRule | null
  readonly prefix: MatchedPrefix | null
  readonly delayMs: number
}

export type RequestDecision = LocalAnswer | RefusedRequest | Forward

/** `hit` undefined: the target has no routes; null: none of them is for the request. `port`: that the request came to. */
export function decideRequest(
  request: RequestFacts,
  hit: RouteHit | null | undefined,
  port: number,
  random: () => number,
): RequestDecision {
  if (hit === undefined) return { kind: 'forward', rule: null, prefix: null, delayMs: 0 }
  if (hit === null)
    return refused(refuse('ROUTE_NOT_FOUND', `${request.method} ${request.host}${request.path}`), 0)
  const rule = compileRule(hit.rule)
  const { filters } = rule
  const preflight = filters.cors?.preflight(request) ?? null
  if (preflight !== null) return { kind: 'answer', headers: preflight, body: null, delayMs: 0 }
  const fault = filters.fault === null ? null : decideFault(filters.fault, random)
  const delayMs = fault?.delayMs ?? 0
  if (fault !== null && fault.abort !== null)
    return { ...refused(refuse('FAULT_INJECTED', originOf(rule)), delayMs), abort: fault.abort }
  if (filters.redirect !== null) {
    const { status, location } = filters.redirect.answer(request, hit.prefix, port)
    const headers = filters.changeAnswer([':status', String(status), 'location', location], request)
    return { kind: 'answer', headers, body: null, delayMs }
  }
  if (filters.direct !== null) {
    const { status, body } = filters.direct
    const headers = filters.changeAnswer([':status', String(status)], request)
    return { kind: 'answer', headers, body: body.length === 0 ? null : body, delayMs }
  }
  if (hit.rule.broken !== '')
    return refused(refuse('ROUTE_BROKEN', `${originOf(rule)}: ${hit.rule.broken}`), delayMs)
  return { kind: 'forward', rule, prefix: hit.prefix, delayMs }
}

function refused(refusal: Refusal, delayMs: number): RefusedRequest {
  return { kind: 'refused', refusal, abort: null, delayMs }
}

/** The backend that gets a request, or why none does. */
export function pickBackend(rule: CompiledRule, random: number): CompiledBackend | Refusal {
  const picked = rule.split.pick(random)
  if (picked === null) return refuse('ROUTE_BROKEN', `${originOf(rule)}: no backend has a weight`)
  const { broken } = picked.backend
  return broken === '' ? picked : refuse('ROUTE_BROKEN', `${originOf(rule)}: ${broken}`)
}

/** Where the rule is written, for people: `HTTPRoute shop/split, rule 2`. */
export function originOf({ rule }: CompiledRule): string {
  const { kind = '', namespace = '', name = '', rule: named = '', index = 0 } = rule.origin ?? {}
  return `${kind} ${namespace}/${name}, rule ${named === '' ? index : named}`
}
