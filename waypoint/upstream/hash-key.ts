// SPDX-License-Identifier: Apache-2.0
// The key by which a request keeps its endpoint, from the request alone. Pure. SPEC ISTIO-API ConsistentHashLB.
import type { HeaderList } from '../../mesh/http/header-list.ts'
import type { HashSource } from './upstream-settings.ts'

/** What is asked about a request. */
export interface HashFacts {
  readonly headers: HeaderList
  /** All values of a field, joined. */
  header(name: string): string | undefined
  /** First value of a query parameter. */
  parameter(name: string): string | undefined
  readonly sourceIp: string
}

/** `key` null: the request has none, any endpoint will do. */
export interface HashKey {
  readonly key: string | null
  /** Value of a set-cookie field for the answer; null: none. */
  readonly setCookie: string | null
}

const NO_KEY: HashKey = { key: null, setCookie: null }

/** `newValue` makes the value of a cookie: unguessable is not needed, evenly spread is. */
export function hashKey(source: HashSource, facts: HashFacts, newValue: () => string): HashKey {
  switch (source.kind) {
    case 'header':
      return keyed(facts.header(source.name))
    case 'query':
      return keyed(facts.parameter(source.name))
    case 'source-ip':
      return keyed(facts.sourceIp)
    case 'cookie': {
      const present = cookieValue(facts.headers, source.name)
      if (present !== undefined || source.ttlSeconds === null) return keyed(present)
      const value = newValue()
      return { key: value, setCookie: cookieField(source.name, value, source.path, source.ttlSeconds) }
    }
  }
}

/** The first cookie of that name. SPEC RFC9113 §8.2.3: a client may send them as several fields. */
export function cookieValue(headers: HeaderList, name: string): string | undefined {
  const start = `${name}=`
  for (let i = 0; i + 1 < headers.length; i += 2) {
    if (headers[i] !== 'cookie') continue
    for (const pair of (headers[i + 1] ?? '').split(';')) {
      const text = pair.trim()
      if (text.startsWith(start)) return unquoted(text.substring(start.length))
    }
  }
  return undefined
}

/** 0 s: until the client ends its session. */
function cookieField(name: string, value: string, path: string, ttlSeconds: number): string {
  const age = ttlSeconds > 0 ? `; Max-Age=${ttlSeconds}` : ''
  return `${name}="${value}"${age}${path === '' ? '' : `; Path=${path}`}; HttpOnly`
}

function keyed(key: string | undefined): HashKey {
  return key === undefined || key === '' ? NO_KEY : { key, setCookie: null }
}

function unquoted(text: string): string {
  return text.length >= 2 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text
}
