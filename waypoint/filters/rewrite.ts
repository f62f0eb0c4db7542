// SPDX-License-Identifier: Apache-2.0
// Another host or path than the client asked for. SPEC GATEWAY-API HTTPURLRewriteFilter. Pure.
import type { HeaderList } from '../../mesh/http/header-list.ts'
import type { Rewrite } from '../../proto/generated/sidestep/v1/routes_pb.js'
import type { RequestFacts } from '../decide/request-facts.ts'
import type { MatchedPrefix } from '../decide/route-match.ts'
import { compilePathModifier, type ModifyPath } from './path-modifier.ts'

export class CompiledRewrite {
  readonly #host: string
  readonly #modify: ModifyPath | null

  constructor({ host, path }: Pick<Rewrite, 'host' | 'path'>) {
    this.#host = host
    this.#modify = compilePathModifier(path)
  }

  /** The header list of the request with another `:authority` and `:path`; what came is kept in x-forwarded-host. */
  apply(headers: HeaderList, request: RequestFacts, prefix: MatchedPrefix | null): HeaderList {
    const result: string[] = []
    let before = ''
    for (let i = 0; i + 1 < headers.length; i += 2) {
      const name = headers[i] ?? ''
      const value = headers[i + 1] ?? ''
      if (name === ':authority' && this.#host !== '') {
        before = value
        result.push(name, this.#host)
      } else if (name === ':path' && this.#modify !== null)
        result.push(name, this.#modify(request.path, prefix) + request.query)
      else if (name !== 'x-forwarded-host' || this.#host === '') result.push(name, value)
    }
    if (before !== '') result.push('x-forwarded-host', before)
    return result
  }
}
