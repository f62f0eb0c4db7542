// SPDX-License-Identifier: Apache-2.0
// What a pod wishes of its own redirection, as its annotations say it. The names are Istio's. Pure; a value that makes
// no sense is none.
import { own, type RawMap } from '../../../mesh/kubernetes/raw-map.ts'

const DNS_CAPTURE = 'ambient.istio.io/dns-capture'
const BYPASS_INBOUND = 'ambient.istio.io/bypass-inbound-capture'
const VIRTUAL_INTERFACES = 'istio.io/reroute-virtual-interfaces'
/** Interfaces of virtual machines in one pod. */
const MAX_VIRTUAL_INTERFACES = 16
/** What the kernel takes as the name of an interface. */
const INTERFACE_NAME = /^[\w.@-]{1,15}$/

/** Wishes of one pod; what is left out is as the node does it. */
export interface PodRedirect {
  /** Its DNS questions come to the mesh, which answers those about the mesh. */
  readonly isDnsCaptured?: boolean
  /** Inbound traffic goes to the application as it comes. */
  readonly isInboundBypassed?: boolean
  /** Interfaces whose inbound traffic is another workload's outbound (virtual machines in the pod). */
  readonly virtualInterfaces?: readonly string[]
}

/** Reads them from a pod's annotations; null when it wishes nothing. */
export function readRedirectAnnotations(annotations: RawMap): PodRedirect | null {
  const dns = own(annotations, DNS_CAPTURE)
  const interfaces = parseVirtualInterfaces(own(annotations, VIRTUAL_INTERFACES))
  const wishes: PodRedirect = {
    ...((dns === 'true' || dns === 'false') && { isDnsCaptured: dns === 'true' }),
    ...(own(annotations, BYPASS_INBOUND) === 'true' && { isInboundBypassed: true }),
    ...(interfaces.length > 0 && { virtualInterfaces: interfaces }),
  }
  return Object.keys(wishes).length === 0 ? null : wishes
}

/** Names separated by commas; those that no interface can have are left out. */
export function parseVirtualInterfaces(value: unknown): readonly string[] {
  if (typeof value !== 'string') return []
  const names = value.split(',', MAX_VIRTUAL_INTERFACES).map((name) => name.trim())
  return [...new Set(names.filter((name) => INTERFACE_NAME.test(name)))]
}
