// SPDX-License-Identifier: Apache-2.0
// Where an endpoint of Istio's kinds is: an address, or a name that each ztunnel looks up.
import { ipToBytes } from '../../mesh/net/address.ts'
import type { Fields } from './fields.ts'
import { quote } from './notes.ts'

const HOST = /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/

export interface EndpointAddress {
  readonly addresses: Uint8Array[]
  readonly hostname: string
}

/** Null when it cannot be reached; that is noted. */
export function readEndpointAddress(endpoint: Fields, canBeName: boolean): EndpointAddress | null {
  const text = endpoint.text('address')
  const address = ipToBytes(text)
  if (address !== undefined) return { addresses: [address], hostname: '' }
  const hostname = text.toLowerCase()
  // `10.0.0.300` looks like a name and was meant as an address.
  if (canBeName && HOST.test(hostname) && !/^[\d.]+$/.test(hostname)) return { addresses: [], hostname }
  const wanted = canBeName ? 'an IP address or a host name' : 'an IP address'
  endpoint.notes.add(
    'ENDPOINT_IGNORED',
    endpoint.pathOf('address'),
    `${quote(text)} is not ${wanted}`,
    `write ${wanted}`,
  )
  return null
}

/** The endpoint's own ports by the name of the service's port; wrong ones are noted. */
export function readPortMap(endpoint: Fields, maxPort: number): ReadonlyMap<string, number> {
  const inner = endpoint.fields('ports')
  const ports = new Map<string, number>()
  for (const name of inner.keys()) {
    const port = inner.integer(name, 1, maxPort)
    if (port !== undefined) ports.set(name, port)
  }
  return ports
}
