// SPDX-License-Identifier: Apache-2.0
// How one request is sent on: where to, with which fields, how long and how often it is tried, and what is done with its
// answer. What its rule, its backend and its client's session say, put together.
import { isRefusal, type Refusal } from '../../mesh/errors/refusal.ts'
import { type HeaderList, headerValue } from '../../mesh/http/header-list.ts'
import { type Forward, originOf, pickBackend } from '../decide/request-decision.ts'
import type { RequestFacts } from '../decide/request-facts.ts'
import type { CompiledBackend, CompiledFilters, CompiledRule } from '../filters/compiled-rule.ts'
import type { EndpointView } from '../upstream/cluster-view.ts'
import { hashKey } from '../upstream/hash-key.ts'
import { readSession, type Session, sessionField } from '../upstream/session-persistence.ts'
import type { ExchangeSource } from './exchange.ts'
import { Mirror } from './mirror.ts'
import { forwardedHeaders } from './request-headers.ts'
import { createRequestId } from './request-id.ts'
import { PLAIN_SENDING, type Sending, sendingOf } from './sending.ts'
import type { KnownCluster } from './waypoint-context.ts'

const NO_MIRRORS: CompiledFilters['mirrors'] = []

export class RequestPlan {
  readonly sending: Sending
  /** Name of the cluster that gets it; '': the connection's own. */
  readonly clusterName: string
  readonly #source: ExchangeSource
  readonly #facts: RequestFacts
  readonly #forward: Forward
  readonly #backend: CompiledBackend | null
  readonly #session: Session | null
  /** For who had no cookie to be kept by. */
  #hashCookie: string | null = null
  #requestId: string | null = null

  private constructor(
    source: ExchangeSource,
    facts: RequestFacts,
    forward: Forward,
    backend: CompiledBackend | null,
    sending: Sending,
    session: Session | null,
  ) {
    this.#source = source
    this.#facts = facts
    this.#forward = forward
    this.#backend = backend
    this.#session = session
    this.sending = sending
    const { target } = source
    this.clusterName = backend === null ? target.ownCluster : backend.clusterAt(target.port)
  }

  /** The plan for a request that `forward` is for, or why there is none. */
  static make(source: ExchangeSource, facts: RequestFacts, forward: Forward): RequestPlan | Refusal {
    const { rule } = forward
    if (rule === null) return new RequestPlan(source, facts, forward, null, PLAIN_SENDING, null)
    const sending = sendingOf(rule.rule)
    const { sessions } = sending
    const session = sessions === null ? null : readSession(sessions, facts.headers, nowSeconds())
    const backend = backendOfSession(source, rule, session) ?? pickBackend(rule, Math.random())
    return isRefusal(backend) ? backend : new RequestPlan(source, facts, forward, backend, sending, session)
  }

  /** The caller's, or one of ours: the same for every attempt and copy. */
  get requestId(): string {
    this.#requestId ??= headerValue(this.#facts.headers, 'x-request-id') ?? createRequestId()
    return this.#requestId
  }

  /** Where the rule is written; '': there is none. */
  get origin(): string {
    return this.#forward.rule === null ? '' : originOf(this.#forward.rule)
  }

  /** Endpoint of the client's session; null: none. */
  get stickyKey(): string | null {
    return this.#session?.endpointKey ?? null
  }

  /** Key for consistent hashing; null: the request has none. */
  hash({ cluster }: KnownCluster): string | null {
    const { hashSource } = cluster
    if (hashSource === null) return null
    const facts = this.#facts
    const asked = {
      headers: facts.headers,
      header: (name: string) => facts.header(name),
      parameter: (name: string) => facts.parameter(name),
      sourceIp: this.#source.sender.ip,
    }
    const { key, setCookie } = hashKey(hashSource, asked, createRequestId)
    this.#hashCookie ??= setCookie
    return key
  }

  /** The request as it goes to the service. */
  requestHeaders(): HeaderList {
    const { context, sender } = this.#source
    const facts = this.#facts
    const { rule, prefix } = this.#forward
    const headers = forwardedHeaders(facts.headers, facts, sender, context.identity, () => this.requestId)
    if (rule === null) return headers
    const changed = rule.filters.changeRequest(headers, facts, prefix)
    return this.#backend?.filters.changeRequest(changed, facts, prefix) ?? changed
  }

  /** The answer of `endpoint` as it goes to the caller. */
  answerHeaders(headers: HeaderList, endpoint: EndpointView | null): HeaderList {
    let changed = this.#forward.rule?.filters.changeAnswer(headers, this.#facts) ?? headers
    changed = this.#backend?.filters.changeAnswer(changed, this.#facts) ?? changed
    if (this.#hashCookie !== null) changed = [...changed, 'set-cookie', this.#hashCookie]
    const { sessions } = this.sending
    if (sessions === null || endpoint === null) return changed
    const field = sessionField(sessions, this.#session, endpoint.key, nowSeconds())
    return field === null ? changed : [...changed, ...field]
  }

  /** Copies of the request for those who are to have one; `traced` makes the fields of a copy of those of the request. */
  startMirrors(isEmpty: boolean, traced: (headers: HeaderList) => HeaderList): Mirror[] {
    const ofRule = this.#forward.rule?.filters.mirrors ?? NO_MIRRORS
    const ofBackend = this.#backend?.filters.mirrors ?? NO_MIRRORS
    if (ofRule.length === 0 && ofBackend.length === 0) return []
    return [...ofRule, ...ofBackend].flatMap(
      (each) => Mirror.start(each, this.#source, () => traced(this.requestHeaders()), isEmpty) ?? [],
    )
  }
}

/** The backend whose endpoint the client's session is with, while it is one. */
function backendOfSession(
  { context, target }: ExchangeSource,
  { backends }: CompiledRule,
  session: Session | null,
): CompiledBackend | null {
  if (session === null || backends.length < 2) return null
  const isWith = (each: CompiledBackend): boolean =>
    each.weight > 0 &&
    each.backend.broken === '' &&
    Object.hasOwn(
      context.clusters.get(each.clusterAt(target.port))?.facts.workloads ?? {},
      session.endpointKey,
    )
  return backends.find(isWith) ?? null
}

function nowSeconds(): number {
  return Math.floor(Date.now() / 1000)
}
