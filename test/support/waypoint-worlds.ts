// SPDX-License-Identifier: Apache-2.0
// Random small worlds with a pod, its service and two waypoints that may be missing, late, of the wrong type or closed to
// the namespace, and calls to the pod. What they mean is said here a second time, without a line of the translation.
import fc from 'fast-check'
import { Translator } from '../../controller/translate/translate.ts'
import type { Authorization } from '../../proto/generated/istio/authorization_pb.js'
import type { Workload } from '../../proto/generated/istio/workload_pb.js'
import { SETTINGS } from './translated.ts'
import { toObject, viewOf } from './yaml-objects.ts'

const USE = 'istio.io/use-waypoint'
/** On the pod. */
export const SERVICE_PORT = 8080

export interface RandomGateway {
  readonly exists: boolean
  readonly serves: 'service' | 'workload' | 'all' | undefined
  readonly className: string
  readonly isReady: boolean
  readonly isOpen: boolean
}
export interface RandomPolicy {
  readonly kind: 'Service' | 'Gateway' | 'GatewayClass'
  readonly name: string
  readonly action: 'ALLOW' | 'DENY'
}
export interface World {
  readonly gateways: Readonly<Record<string, RandomGateway>>
  /** Whom each names; undefined: nobody. */
  readonly byNamespace: string | undefined
  readonly byPod: string | undefined
  readonly byService: string | undefined
  readonly policies: readonly RandomPolicy[]
}
export interface Call {
  readonly port: number
  readonly source: { readonly namespace: string; readonly account: string } | null
}

const gateway: fc.Arbitrary<RandomGateway> = fc.record({
  exists: fc.constantFrom(true, true, true, false),
  serves: fc.constantFrom('service', 'workload', 'all', undefined),
  className: fc.constantFrom('istio-waypoint', 'sidestep-waypoint'),
  isReady: fc.boolean(),
  isOpen: fc.constantFrom(true, true, true, false),
})
const named = fc.constantFrom(undefined, undefined, 'near', 'far', 'none')
export const worlds: fc.Arbitrary<World> = fc.record({
  gateways: fc.record({ near: gateway, far: gateway }),
  byNamespace: named,
  byPod: named,
  byService: named,
  policies: fc.array(
    fc.record({
      kind: fc.constantFrom('Service', 'Gateway', 'GatewayClass'),
      name: fc.constantFrom('near', 'far'),
      action: fc.constantFrom('ALLOW', 'DENY'),
    }),
    { minLength: 1, maxLength: 2 },
  ),
})
export const calls: fc.Arbitrary<Call> = fc.record({
  port: fc.constantFrom(SERVICE_PORT, 9999),
  source: fc.constantFrom(
    null,
    { namespace: 'web', account: 'front' },
    { namespace: 'bad', account: 'front' },
    { namespace: 'shop', account: 'near-account' },
    { namespace: 'shop', account: 'far' },
  ),
})

/** Near has pods with an account of their own, far has none: then its account has its name. */
export const ACCOUNTS: Readonly<Record<string, string>> = { near: 'near-account', far: 'far' }
const GROUPS = {
  Service: '',
  Gateway: 'gateway.networking.k8s.io',
  GatewayClass: 'gateway.networking.k8s.io',
}
/** A policy for a Service is for the one there is, one for a class names the class of a Gateway. */
export const targetOf = ({ kind, name }: RandomPolicy): string => {
  if (kind === 'Service') return 'cart'
  if (kind === 'Gateway') return name
  return name === 'near' ? 'sidestep-waypoint' : 'istio-waypoint'
}
const labelled = (name: string | undefined) => (name === undefined ? {} : { [USE]: name })

/** Everything there is, as it would be written. */
export function objectsOf(world: World): Record<string, unknown>[] {
  const meta = (name: string, labels: object = {}) => ({ name, namespace: 'shop', labels })
  const gateways = Object.entries(world.gateways).flatMap(([name, each]) => {
    const allowedRoutes = { namespaces: { from: each.isOpen ? 'Same' : 'None' } }
    const listeners = [{ name: 'mesh', port: 15008, protocol: 'HBONE', allowedRoutes }]
    const labels = each.serves === undefined ? {} : { 'istio.io/waypoint-for': each.serves }
    const status = each.isReady ? { addresses: [{ type: 'IPAddress', value: '10.96.9.1' }] } : {}
    const spec = { gatewayClassName: each.className, listeners }
    const { exists } = each
    return exists
      ? [
          {
            apiVersion: 'gateway.networking.k8s.io/v1',
            kind: 'Gateway',
            metadata: meta(name, labels),
            spec,
            status,
          },
        ]
      : []
  })
  const policies = world.policies.map((policy, index) => ({
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: `p${index}`, namespace: policy.kind === 'GatewayClass' ? 'istio-system' : 'shop' },
    spec: {
      targetRefs: [{ group: GROUPS[policy.kind], kind: policy.kind, name: targetOf(policy) }],
      action: policy.action,
      rules: [{ from: [{ source: { namespaces: ['bad'] } }] }],
    },
  }))
  return [
    ...gateways,
    ...policies,
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels: labelled(world.byNamespace) } },
    {
      ...{ apiVersion: 'v1', kind: 'Pod', status: { podIP: '10.2.9.1' }, spec: { serviceAccountName: 'near-account' } },
      metadata: meta('near-0', { 'gateway.networking.k8s.io/gateway-name': 'near', [USE]: 'none' }),
    },
    {
      ...{ apiVersion: 'v1', kind: 'Service', metadata: meta('cart', labelled(world.byService)) },
      spec: { clusterIP: '10.96.0.1', selector: { app: 'cart' }, ports: [{ port: 80, targetPort: SERVICE_PORT }] },
    },
    {
      ...{ apiVersion: 'v1', kind: 'Pod', metadata: meta('cart', { app: 'cart', ...labelled(world.byPod) }) },
      status: { podIP: '10.2.0.1' },
    },
  ] // biome-ignore format: one object per line
}

/** Translates it. */
export function translateWorld(world: World): { pod: Workload; authorizations: readonly Authorization[] } {
  const { workloads, authorizations } = new Translator(SETTINGS).translate(
    viewOf(objectsOf(world).map(toObject)),
  )
  const pod = workloads.get('Kubernetes//Pod/shop/cart')
  if (pod === undefined) throw new Error('the pod is gone')
  return { pod, authorizations: [...authorizations.values()] }
}

/** Whom a call proves to be. */
export function identityOf({ source }: Call) {
  if (source === null) return null
  return { trustDomain: 'cluster.local', namespace: source.namespace, serviceAccount: source.account }
}

/** What a caller may have addressed to reach the port: the pod itself, or the service. */
export type Addressed = 'workload' | 'service'

/** The waypoint that is named for one kind of traffic. */
export function askedBy(world: World, addressed: Addressed): { name: string; isInherited: boolean } | null {
  const own = addressed === 'workload' ? world.byPod : world.byService
  const name = own ?? world.byNamespace
  return name === undefined || name === 'none' ? null : { name, isInherited: own === undefined }
}

export function serves(world: World, name: string, addressed: Addressed): boolean {
  const kind = world.gateways[name]?.serves ?? 'service'
  return kind === 'all' || kind === addressed
}

/** The waypoint that has one kind of traffic; null: none. */
export function boundTo(world: World, addressed: Addressed): string | null {
  const asked = askedBy(world, addressed)
  const waypoint = asked === null ? undefined : world.gateways[asked.name]
  if (asked === null || waypoint?.exists !== true || !waypoint.isReady || !waypoint.isOpen) return null
  return serves(world, asked.name, addressed) ? asked.name : null
}
