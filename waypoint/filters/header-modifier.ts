// SPDX-License-Identifier: Apache-2.0
// Sets, adds and removes header fields as a route says. What frames a message or belongs to a connection is left alone, whoever
// asks. SPEC GATEWAY-API HTTPHeaderFilter: set, then add, then remove; names are compared without case. Pure.
import { dropHeaders, type HeaderList } from '../../mesh/http/header-list.ts'
import type { HeaderValue } from '../../proto/generated/sidestep/v1/routes_pb.js'

/** Fields that are not a route's to change: the codec writes them, or they say how long a message is. */
const UNTOUCHED = new Set([
  'connection',
  'content-length',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
])

type Field = Pick<HeaderValue, 'name' | 'value'>

/** What is to change: a HeaderModifier. */
export interface HeaderChanges {
  readonly set: readonly Field[]
  readonly add: readonly Field[]
  readonly remove: readonly string[]
}

/** A modifier ready for every request. */
export class CompiledHeaders {
  readonly #set: readonly (readonly [string, string])[]
  readonly #add: readonly (readonly [string, string])[]
  readonly #gone: ReadonlySet<string>
  readonly #replaced: ReadonlySet<string>

  constructor({ set, add, remove }: HeaderChanges) {
    this.#set = fieldsOf(set)
    this.#add = fieldsOf(add)
    this.#gone = new Set(remove.map((name) => name.toLowerCase()).filter((name) => isOurs(name)))
    this.#replaced = new Set(this.#set.map(([name]) => name))
  }

  /** A new list. `host` is `:authority`, where there is one. */
  apply(headers: HeaderList): HeaderList {
    const replaced = this.#replaced
    const result: string[] = []
    for (let i = 0; i + 1 < headers.length; i += 2) {
      const name = headers[i] ?? ''
      if (name === ':authority' && replaced.has('host')) result.push(name, this.#valueOf('host'))
      else if (!replaced.has(name)) result.push(name, headers[i + 1] ?? '')
    }
    const hasAuthority = headers.includes(':authority')
    for (const [name, value] of [...this.#set, ...this.#add])
      if (name !== 'host' || !hasAuthority) result.push(name, value)
    if (this.#gone.size > 0) dropHeaders(result, this.#gone)
    return result
  }

  #valueOf(wanted: string): string {
    return this.#set.findLast(([name]) => name === wanted)?.[1] ?? ''
  }
}

function isOurs(name: string): boolean {
  return !UNTOUCHED.has(name) && !name.startsWith(':')
}

function fieldsOf(values: readonly Field[]): (readonly [string, string])[] {
  return values
    .map(({ name, value }) => [name.toLowerCase(), value] as const)
    .filter(([name]) => isOurs(name))
}
