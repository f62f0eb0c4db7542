// SPDX-License-Identifier: Apache-2.0
// What a route and a policy may ask of a request. Made once; what is costly is made when it is asked for.
import { type HeaderList, pseudoHeader } from '../../mesh/http/header-list.ts'

/** Who calls. */
export interface Caller {
  /** Namespace of its workload; '': unknown. */
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
}

/** A request, ready to be matched. */
export class RequestFacts {
  readonly method: string
  readonly scheme: string
  /** Of :authority, lower case, without port. */
  readonly host: string
  /** :authority in lower case. */
  readonly authority: string
  /** One spelling (canonical-path.ts). */
  readonly path: string
  /** With its `?`; ''. */
  readonly query: string
  readonly headers: HeaderList
  readonly caller: Caller
  #parameters: ReadonlyMap<string, string> | null = null

  constructor(
    headers: HeaderList,
    target: { readonly path: string; readonly query: string },
    caller: Caller,
  ) {
    this.method = pseudoHeader(headers, ':method')
    this.scheme = pseudoHeader(headers, ':scheme')
    this.authority = pseudoHeader(headers, ':authority').toLowerCase()
    this.host = hostOf(this.authority)
    this.path = target.path
    this.query = target.query
    this.headers = headers
    this.caller = caller
  }

  /** All values of a field, joined as RFC 9110 §5.3 joins them; undefined: it is not there. */
  header(name: string): string | undefined {
    const { headers } = this
    let found: string | undefined
    for (let i = 0; i + 1 < headers.length; i += 2)
      if (headers[i] === name) found = found === undefined ? headers[i + 1] : `${found},${headers[i + 1]}`
    return found
  }

  /** The first value of a query parameter, unescaped. */
  parameter(name: string): string | undefined {
    this.#parameters ??= parseQuery(this.query)
    return this.#parameters.get(name)
  }
}

/** Without port; brackets of an IPv6 address stay. */
function hostOf(authority: string): string {
  const colon = authority.lastIndexOf(':')
  const end = colon > authority.lastIndexOf(']') ? colon : authority.length
  return authority.substring(0, end)
}

/** More parameters than these are not looked at: nobody writes them, and each costs. */
const MAX_PARAMETERS = 128

function parseQuery(query: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>()
  for (const part of query.slice(1).split('&', MAX_PARAMETERS)) {
    const equals = part.indexOf('=')
    const name = unescaped(equals < 0 ? part : part.substring(0, equals))
    if (name !== '' && !found.has(name))
      found.set(name, equals < 0 ? '' : unescaped(part.substring(equals + 1)))
  }
  return found
}

/** As forms are written; what is no escape stays as it is. */
function unescaped(text: string): string {
  const spaced = text.replaceAll('+', ' ')
  if (!spaced.includes('%')) return spaced
  try {
    return decodeURIComponent(spaced)
  } catch {
    return spaced
  }
}
