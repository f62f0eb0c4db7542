// SPDX-License-Identifier: Apache-2.0
// The `forwarded` header of HBONE: the original client's address and, for traffic to a service, its host name.
// A claim of the peer's: telemetry only. Spec: RFC 7239, in the form ztunnel writes.
import { formatSocketAddress, parseSocketAddress, type SocketAddress } from '../net/address.ts'
import { isHostname } from './authority.ts'
import { HBONE_LIMITS } from './limits.ts'

/** What the header says; a part that is absent or malformed is null. */
export interface Forwarded {
  readonly client: SocketAddress | null
  /** Lower-case host name of the service that was addressed. */
  readonly host: string | null
}

/** SPEC HBONE §3.3: `for="ip:port"`, plus `;host=name` when a service was addressed. `ip` is canonical. */
export function formatForwarded(ip: string, port: number, host: string | null): string {
  const client = `for="${formatSocketAddress(ip, port)}"`
  return host === null || !isHostname(host.toLowerCase()) ? client : `${client};host=${host}`
}

/** Reads the first element of a header value. */
export function parseForwarded(text: string): Forwarded {
  let client: SocketAddress | null = null
  let host: string | null = null
  if (text.length > HBONE_LIMITS.forwarded.value) return { client, host }
  for (const pair of firstElement(text).split(';')) {
    const equals = pair.indexOf('=')
    if (equals < 0) continue
    const name = pair.slice(0, equals).trim().toLowerCase()
    const value = unquote(pair.slice(equals + 1).trim())
    if (name === 'for') client ??= parseSocketAddress(value) ?? null
    else if (name === 'host' && isHostname(value.toLowerCase())) host ??= value.toLowerCase()
  }
  return { client, host }
}

/** Later elements were added by hops behind the first, which is the one we asked for. */
function firstElement(text: string): string {
  const comma = text.indexOf(',')
  return comma < 0 ? text : text.slice(0, comma)
}

function unquote(value: string): string {
  return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value
}
