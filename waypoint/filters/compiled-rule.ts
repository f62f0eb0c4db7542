// SPDX-License-Identifier: Apache-2.0
// The filters of a rule, ready for every request, in the order in which they were written. Pure.
import type { HeaderList } from '../../mesh/http/header-list.ts'
import type {
  Backend,
  DirectResponse,
  Fault,
  Filter,
  HttpRule,
  Mirror,
} from '../../proto/generated/sidestep/v1/routes_pb.js'
import type { RequestFacts } from '../decide/request-facts.ts'
import type { MatchedPrefix } from '../decide/route-match.ts'
import { Split } from '../decide/split.ts'
import { clusterName } from '../model/views.ts'
import { CompiledCors } from './cors.ts'
import { CompiledHeaders } from './header-modifier.ts'
import { CompiledRedirect } from './redirect.ts'
import { CompiledRewrite } from './rewrite.ts'

type ChangeRequest = (headers: HeaderList, request: RequestFacts, prefix: MatchedPrefix | null) => HeaderList

/** What filters do to a request and its answer. */
export class CompiledFilters {
  readonly #request: ChangeRequest[] = []
  readonly #response: CompiledHeaders[] = []
  readonly cors: CompiledCors | null = null
  readonly redirect: CompiledRedirect | null = null
  readonly fault: Fault | null = null
  readonly direct: DirectResponse | null = null
  readonly mirrors: readonly Mirror[]

  constructor(filters: readonly Filter[]) {
    const mirrors: Mirror[] = []
    for (const { kind } of filters)
      switch (kind.case) {
        case 'requestHeaders': {
          const changes = new CompiledHeaders(kind.value)
          this.#request.push((headers) => changes.apply(headers))
          break
        }
        case 'responseHeaders':
          this.#response.push(new CompiledHeaders(kind.value))
          break
        case 'rewrite': {
          const rewrite = new CompiledRewrite(kind.value)
          this.#request.push((headers, request, prefix) => rewrite.apply(headers, request, prefix))
          break
        }
        case 'redirect':
          this.redirect ??= new CompiledRedirect(kind.value)
          break
        case 'cors':
          this.cors ??= new CompiledCors(kind.value)
          break
        case 'fault':
          this.fault ??= kind.value
          break
        case 'directResponse':
          this.direct ??= kind.value
          break
        case 'mirror':
          mirrors.push(kind.value)
          break
      }
    this.mirrors = mirrors
  }

  /** The request as it goes on. */
  changeRequest(headers: HeaderList, request: RequestFacts, prefix: MatchedPrefix | null): HeaderList {
    let changed = headers
    for (const change of this.#request) changed = change(changed, request, prefix)
    return changed
  }

  /** The answer as it goes back. */
  changeAnswer(headers: HeaderList, request: RequestFacts): HeaderList {
    let changed = headers
    for (const change of this.#response) changed = change.apply(changed)
    return this.cors === null ? changed : this.cors.apply(changed, request)
  }
}

/** A backend with its own filters. */
export class CompiledBackend {
  readonly backend: Backend
  readonly weight: number
  readonly filters: CompiledFilters
  #port = 0
  #cluster = ''

  constructor(backend: Backend) {
    this.backend = backend
    this.weight = backend.weight
    this.filters = new CompiledFilters(backend.filters)
  }

  /** The cluster that gets a request to port `asked`. The text is made once: requests of a rule come to one port. */
  clusterAt(asked: number): string {
    if (this.#port !== asked) {
      const { service, port, subset } = this.backend
      this.#port = asked
      this.#cluster = clusterName(service, port === 0 ? asked : port, subset)
    }
    return this.#cluster
  }
}

/** A rule, compiled once. */
export class CompiledRule {
  readonly rule: HttpRule
  readonly filters: CompiledFilters
  readonly split: Split<CompiledBackend>
  readonly backends: readonly CompiledBackend[]

  constructor(rule: HttpRule) {
    this.rule = rule
    this.filters = new CompiledFilters(rule.filters)
    this.backends = rule.backends.map((backend) => new CompiledBackend(backend))
    this.split = new Split(this.backends)
  }
}

const compiled = new WeakMap<HttpRule, CompiledRule>()

/** Once for each rule that is in force. */
export function compileRule(rule: HttpRule): CompiledRule {
  const known = compiled.get(rule)
  if (known !== undefined) return known
  const made = new CompiledRule(rule)
  compiled.set(rule, made)
  return made
}
