// SPDX-License-Identifier: Apache-2.0
// Whom people mean: a pod by name or address, a destination by host name, service, pod or address. Names are looked up as
// the pod's own DNS questions would be. Pure.
import type { MeshState } from '../../mesh/model/mesh-state.ts'
import type { Service } from '../../mesh/model/service.ts'
import { WORKLOAD_DEFAULTS, type Workload } from '../../mesh/model/workload.ts'
import { formatIp, parseIp } from '../../mesh/net/address.ts'
import { decideDns } from '../dns/dns-decision.ts'
import { TYPE_A, TYPE_AAAA } from '../dns/dns-message.ts'
import type { NodeView } from './node-view.ts'

/** Who was meant. */
export type NamedSource =
  | { readonly kind: 'workload'; readonly workload: Workload }
  /** Several pods have this name: `namespace/name` each. */
  | { readonly kind: 'ambiguous'; readonly names: readonly string[] }
  /** Nobody this node knows. */
  | { readonly kind: 'unknown' }

/** What was meant. `port` 0: nobody said. */
export interface NamedTarget {
  readonly kind: 'service' | 'pod' | 'address' | 'host'
  /** As DNS or the model calls it. */
  readonly name: string
  /** '' : a host name that the mesh does not answer. */
  readonly ip: string
  readonly port: number
  /** The mesh answers this name, or knows the address. */
  readonly isOfMesh: boolean
}

/** Names that an answer lists at most. */
const MAX_NAMES = 10

/** `namespace/name`, a name that only one pod has, or an address. Pods of this node come first. */
export function findSource(view: NodeView, asked: string): NamedSource {
  const { state, network } = view
  const ip = parseIp(asked)
  if (ip !== undefined) {
    const workload = state?.workloadByIp(network, ip)
    return { kind: 'workload', workload: workload ?? { ...WORKLOAD_DEFAULTS, network, workloadIps: [ip] } }
  }
  if (state === null) return { kind: 'unknown' }
  const [first = '', second] = asked.split('/')
  const isIt = (each: { readonly namespace: string; readonly name: string }): boolean =>
    second === undefined ? each.name === first : each.namespace === first && each.name === second
  const served = view.pods.filter(isIt)
  const own = served.flatMap((pod) => state.ownWorkload(pod.namespace, pod.name, pod.serviceAccount) ?? [])
  const found = own.length > 0 ? own : state.workloads.filter(isIt)
  const [workload] = found
  if (workload === undefined) return { kind: 'unknown' }
  if (found.length === 1) return { kind: 'workload', workload }
  return {
    kind: 'ambiguous',
    names: found.slice(0, MAX_NAMES).map((each) => `${each.namespace}/${each.name}`),
  }
}

/** What a pod of `namespace` means. `asked` has no port. */
export function findTarget(view: NodeView, namespace: string, asked: string, port: number): NamedTarget {
  const { state, network } = view
  const ip = parseIp(asked)
  if (ip !== undefined) return addressTarget(view, namespace, ip, port)
  const unknown: NamedTarget = { kind: 'host', name: asked, ip: '', port, isOfMesh: false }
  if (state === null) return unknown
  if (asked.includes('/')) return slashTarget(view, asked, port) ?? unknown
  const name = asked.toLowerCase().replace(/\.$/, '')
  const client = { namespace, network, clusterDomain: view.clusterDomain }
  for (const type of [TYPE_A, TYPE_AAAA]) {
    const decision = decideDns(name, type, client, state, () => 0)
    if (decision.kind === 'forward') break
    const { service } = decision
    const bytes = decision.records.flatMap((record) => ('bytes' in record ? [record.bytes] : []))[0]
    const found = bytes === undefined ? undefined : formatIp(bytes)
    if (found !== undefined) return serviceTarget(service, found, port)
    // A headless service without pods has a name and no address.
    if (type === TYPE_AAAA) return serviceTarget(service, '', port)
  }
  const pod = state.workloadsOfNamespace(namespace).find((each) => each.name === asked)
  return pod === undefined ? unknown : podTarget(pod, port)
}

function addressTarget(
  { state, network }: NodeView,
  namespace: string,
  ip: string,
  port: number,
): NamedTarget {
  const service = state?.serviceByVip(network, ip, namespace)
  if (service !== undefined) return serviceTarget(service, ip, port)
  const workload = state?.workloadByIp(network, ip)
  if (workload !== undefined) return { ...podTarget(workload, port), ip }
  return { kind: 'address', name: ip, ip, port, isOfMesh: false }
}

/** `namespace/name`: a service before a pod. */
function slashTarget({ state, network }: NodeView, asked: string, port: number): NamedTarget | undefined {
  const [namespace = '', name = ''] = asked.split('/')
  const service = state?.services.find((each) => each.namespace === namespace && each.name === name)
  if (service !== undefined && state !== null) {
    const vip = service.vips.find((each) => each.network === network)?.ip
    return serviceTarget(service, vip ?? firstIp(state, service), port)
  }
  const pod = state?.workloadsOfNamespace(namespace).find((each) => each.name === name)
  return pod === undefined ? undefined : podTarget(pod, port)
}

function firstIp(state: MeshState, service: Service): string {
  return state.endpointsOf(service)[0]?.workload.workloadIps[0] ?? ''
}

/** Without a port its lowest is meant. */
function serviceTarget(service: Service, ip: string, port: number): NamedTarget {
  const lowest = Math.min(...Object.keys(service.ports).map(Number))
  const meant = port === 0 && Number.isFinite(lowest) ? lowest : port
  return { kind: 'service', name: service.hostname, ip, port: meant, isOfMesh: true }
}

function podTarget({ namespace, name, workloadIps }: Workload, port: number): NamedTarget {
  return { kind: 'pod', name: `${namespace}/${name}`, ip: workloadIps[0] ?? '', port, isOfMesh: true }
}
