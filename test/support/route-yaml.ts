// SPDX-License-Identifier: Apache-2.0
// HTTPRoutes for tests, and the order in which a translation has their matches.
import type { Claim } from '../../controller/translate/routes/claims.ts'
import type { ServiceInfo } from '../../controller/translate/service-info.ts'
import type { Translation } from '../../controller/translate/translation.ts'
import { AppProtocol } from '../../proto/generated/istio/workload_pb.js'
import { toObject } from './yaml-objects.ts'

/** A waypoint, and the Service `echo` behind it. */
export const MESH = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: shop }
spec: { gatewayClassName: sidestep-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
status: { addresses: [{ type: IPAddress, value: 10.96.9.1 }] }
---
{ apiVersion: v1, kind: Namespace, metadata: { name: shop, annotations: { sidestep.dev/waypoint: wp } } }
---
{ apiVersion: v1, kind: Service, metadata: { name: echo, namespace: shop }, spec: { clusterIP: 10.96.0.1, ports: [{ name: http, port: 80 }] } }
`

/** An HTTPRoute of one rule for the Service `echo`; `day` of its creation. */
export function routeYaml(
  name: string,
  { matches, day }: { readonly matches: readonly string[]; readonly day: number },
): string {
  const created = new Date(Date.UTC(2026, 0, 1 + day)).toISOString()
  return `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: ${name}, namespace: shop, creationTimestamp: '${created}' }
spec:
  parentRefs: [{ group: '', kind: Service, name: echo }]
  rules: [{ matches: [${matches.join(', ')}], backendRefs: [{ name: echo, port: 80 }] }]
`
}

/** `<route>:<which match of it>` of the one list of the Service `echo`. */
export function orderOf({ routes }: Translation): string[] {
  const list = routes.get('shop/echo.shop.svc.cluster.local')?.ports[0]?.lists[0]?.routes
  if (list?.case !== 'http') return []
  const { rules, entries } = list.value
  const seen = new Map<string, number>()
  return entries.map(({ rule }) => {
    const name = rules[rule]?.origin?.name ?? ''
    const place = seen.get(name) ?? 0
    seen.set(name, place + 1)
    return `${name}:${place}`
  })
}

/** So many routes of one service; `reads` tells how often a rank was looked at. */
export function countingClaims(count: number): {
  readonly claims: readonly Claim[]
  readonly info: ServiceInfo
  readonly reads: () => number
} {
  let reads = 0
  const object = toObject({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'echo', namespace: 'shop' },
  })
  const claims = Array.from({ length: count }, (_, index): Claim => {
    const entry = {
      ...{ match: {}, rule: 0, port: 0 },
      get rank() {
        reads++
        return [(index * 7919) % count]
      },
    }
    const part = {
      ...{
        object,
        rules: [{}],
        entries: [entry],
        tcp: [],
        tls: [],
        badRef: null,
        backends: [],
        findings: [],
      },
      refused: { count: 0, of: 1, first: '' },
    }
    return { family: 'HTTPRoute', part, consumer: '', port: 0 }
  })
  const port = { name: 'http', servicePort: 80, targetPort: 80, appProtocol: AppProtocol.HTTP11 }
  const info: ServiceInfo = {
    ...{ key: 'shop/echo.shop', name: 'echo', namespace: 'shop', hostname: 'echo.shop', object },
    ...{ ports: [port], selector: null },
  }
  return { claims, info, reads: () => reads }
}
