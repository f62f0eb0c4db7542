// SPDX-License-Identifier: Apache-2.0
// Cross-origin requests: preflights are answered here, answers say who may read them. SPEC FETCH §3.2; GATEWAY-API
// HTTPCORSFilter. What the application says of it gives way: two opinions would make browsers refuse. Pure.
import type { HeaderList } from '../../mesh/http/header-list.ts'
import type { Cors } from '../../proto/generated/sidestep/v1/routes_pb.js'
import type { RequestFacts } from '../decide/request-facts.ts'
import { compileValue, type ValueTest } from '../decide/value-match.ts'

const PREFIX = 'access-control-'
/** SPEC GATEWAY-API: what a preflight is remembered for when nothing is said. */
const DEFAULT_MAX_AGE_SECONDS = 5

export class CompiledCors {
  readonly #filter: Cors
  readonly #tests: readonly ValueTest[]

  constructor(filter: Cors) {
    this.#filter = filter
    this.#tests = filter.originMatches.map(compileValue)
  }

  /** The answer to a preflight; null: it is none. One of a foreign origin is answered without leave. */
  preflight(request: RequestFacts): HeaderList | null {
    const method = request.header('access-control-request-method')
    const origin = request.header('origin')
    if (request.method !== 'OPTIONS' || method === undefined || origin === undefined) return null
    const headers = [':status', '200']
    if (!this.#isAllowed(origin)) return headers
    headers.push(...this.#leave(origin))
    const { methods, requestHeaders, maxAge, allowsCredentials } = this.#filter
    // SPEC FETCH §3.2.3: with credentials `*` is a name like any other, so what was asked for is said.
    const said = (list: readonly string[], asked: string | undefined): string =>
      list.includes('*') && (allowsCredentials || list.length === 1) ? (asked ?? '*') : list.join(', ')
    if (methods.length > 0) headers.push('access-control-allow-methods', said(methods, method))
    const wanted = request.header('access-control-request-headers')
    if (requestHeaders.length > 0) headers.push('access-control-allow-headers', said(requestHeaders, wanted))
    const seconds = maxAge === undefined ? DEFAULT_MAX_AGE_SECONDS : Number(maxAge.seconds)
    headers.push('access-control-max-age', String(seconds))
    return headers
  }

  /** The header list of an answer to `request`, with our leave in it, or without any. */
  apply(headers: HeaderList, request: RequestFacts): HeaderList {
    const origin = request.header('origin')
    if (origin === undefined) return headers
    const result: string[] = []
    for (let i = 0; i + 1 < headers.length; i += 2)
      if (!headers[i]?.startsWith(PREFIX)) result.push(headers[i] ?? '', headers[i + 1] ?? '')
    if (!this.#isAllowed(origin)) return result
    result.push(...this.#leave(origin))
    const { exposedHeaders, allowsCredentials } = this.#filter
    // With credentials a browser takes `*` for a name: nothing but what is named can be given.
    const exposed = allowsCredentials ? exposedHeaders.filter((name) => name !== '*') : exposedHeaders
    if (exposed.length > 0) result.push('access-control-expose-headers', exposed.join(', '))
    return result
  }

  #leave(origin: string): string[] {
    const { origins, allowsCredentials } = this.#filter
    const isAnybody = origins.includes('*') && !allowsCredentials
    const headers = ['access-control-allow-origin', isAnybody ? '*' : origin]
    if (!isAnybody) headers.push('vary', 'origin')
    if (allowsCredentials) headers.push('access-control-allow-credentials', 'true')
    return headers
  }

  #isAllowed(origin: string): boolean {
    return (
      this.#filter.origins.some((each) => isOrigin(each, origin)) || this.#tests.some((test) => test(origin))
    )
  }
}

/** `wanted`: exact, `*`, or with one `*` for a part of the host. Hosts are compared without case. */
function isOrigin(wanted: string, origin: string): boolean {
  if (wanted === '*') return true
  const [left, right] = [wanted.toLowerCase(), origin.toLowerCase()]
  const star = left.indexOf('*')
  if (star < 0) return left === right
  const [before, after] = [left.slice(0, star), left.slice(star + 1)]
  return right.length > before.length + after.length && right.startsWith(before) && right.endsWith(after)
}
