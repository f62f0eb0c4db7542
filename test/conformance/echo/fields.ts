// SPDX-License-Identifier: Apache-2.0
// What the echo says of a request. The names of the fields are those that the suite looks for (its utils/echo/parse.go).
import { hostname } from 'node:os'

/** Pairs of name and value, as they came. */
export type HeaderPairs = readonly (readonly [name: string, value: string])[]

/** What came back. */
export interface Answer {
  readonly status: number
  readonly headers: HeaderPairs
  readonly body: string
}

/** What a server has seen of a request. */
export interface SeenRequest {
  readonly port: number
  readonly host: string
  readonly url: string
  readonly method: string
  readonly protocol: string
  readonly alpn: string
  readonly callerIp: string
  readonly headers: HeaderPairs
}

/** One line per field. */
export function echoText(request: SeenRequest): string {
  const { port, host, url, method, protocol, alpn, callerIp, headers } = request
  const fields = [
    ['ServicePort', String(port)],
    ['Host', host],
    ['URL', url],
    ['Method', method],
    ['Proto', protocol],
    ['Alpn', alpn],
    ['IP', callerIp],
    ...headers.map(([name, value]) => ['RequestHeader', `${name}:${value}`]),
    ['Hostname', hostname()],
  ]
  return fields.map(([name, value]) => `${name}=${value}\n`).join('')
}

/** Pairs of a list where names and values take turns, as Node gives headers. */
export function headerPairs(raw: readonly string[]): HeaderPairs {
  return raw.flatMap((name, at) => (at % 2 === 0 ? [[name, raw[at + 1] ?? ''] as const] : []))
}
