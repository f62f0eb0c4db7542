// SPDX-License-Identifier: Apache-2.0
// Where a client is sent instead. SPEC GATEWAY-API HTTPRequestRedirectFilter. Pure.
import type { Redirect } from '../../proto/generated/sidestep/v1/routes_pb.js'
import type { RequestFacts } from '../decide/request-facts.ts'
import type { MatchedPrefix } from '../decide/route-match.ts'
import { compilePathModifier, type ModifyPath } from './path-modifier.ts'

/** An answer without body. */
export interface RedirectAnswer {
  readonly status: number
  readonly location: string
}

const DEFAULT_STATUS = 302
const WELL_KNOWN: Readonly<Record<string, number>> = { http: 80, https: 443 }

export class CompiledRedirect {
  readonly #filter: Pick<Redirect, 'scheme' | 'host' | 'port' | 'status'>
  readonly #modify: ModifyPath | null

  constructor(filter: Redirect) {
    this.#filter = filter
    this.#modify = compilePathModifier(filter.path)
  }

  /** `port`: that the request came to. */
  answer(request: RequestFacts, prefix: MatchedPrefix | null, port: number): RedirectAnswer {
    const { status } = this.#filter
    const scheme = this.#filter.scheme || request.scheme
    const host = this.#filter.host || request.host
    const path = this.#modify === null ? request.path : this.#modify(request.path, prefix)
    // SPEC GATEWAY-API: a scheme without port has its own; neither means the port that the client came to.
    const implied = this.#filter.scheme === '' ? port : (WELL_KNOWN[scheme] ?? port)
    const named = this.#filter.port === 0 ? implied : this.#filter.port
    const suffix = named === WELL_KNOWN[scheme] ? '' : `:${named}`
    return {
      status: status === 0 ? DEFAULT_STATUS : status,
      location: `${scheme}://${host}${suffix}${path}${request.query}`,
    }
  }
}
