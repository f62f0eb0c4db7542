// SPDX-License-Identifier: Apache-2.0
// From objects as people write them to what a waypoint does with a request: translated as the controller does it, encoded and
// decoded as on the wire, described and decided as the waypoint does it. Nothing is sent.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { decodeAddress } from '../../mesh/discovery/decode-workload.ts'
import type { Refusal } from '../../mesh/errors/refusal.ts'
import type { MeshConfig } from '../../mesh/model/mesh-state.ts'
import { MeshState } from '../../mesh/model/mesh-state.ts'
import { AddressSchema } from '../../proto/generated/istio/workload_pb.js'
import { sendingOf } from '../../waypoint/carry/sending.ts'
import { Target } from '../../waypoint/carry/target.ts'
import { tokenFacts } from '../../waypoint/decide/call-facts.ts'
import { decideRequest } from '../../waypoint/decide/request-decision.ts'
import { RequestFacts } from '../../waypoint/decide/request-facts.ts'
import { pickTcpBackend, type TcpChoice } from '../../waypoint/decide/tcp-decision.ts'
import { describeCluster, describeTarget, type WaypointModel } from '../../waypoint/model/describe.ts'
import { ClusterGauges } from '../../waypoint/upstream/cluster-gauges.ts'
import { translateYaml } from './translated.ts'

const COMMON = `
{ apiVersion: v1, kind: Namespace, metadata: { name: shop, annotations: { sidestep.dev/waypoint: wp } } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: shop }
spec: { gatewayClassName: sidestep-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
status: { addresses: [{ type: Hostname, value: wp.shop.svc.cluster.local }] }
---
{ apiVersion: v1, kind: Service, metadata: { name: wp, namespace: shop }, spec: { clusterIP: 10.96.9.1, selector: { gateway.networking.k8s.io/gateway-name: wp }, ports: [{ port: 15008 }] } }
---
{ apiVersion: v1, kind: Pod, metadata: { name: wp-0, namespace: shop, labels: { gateway.networking.k8s.io/gateway-name: wp } }, spec: { serviceAccountName: wp }, status: { phase: Running, podIP: 10.0.9.1, conditions: [{ type: Ready, status: 'True' }] } }
`

/** A service, its address and its versions; each is a pod that is ready. */
export interface AskedService {
  readonly ip: string
  readonly versions?: readonly string[]
  /** Name of its port 80, or of the port `port`. */
  readonly portName?: string
  readonly port?: number
}

/** A request, by default a GET of / to port 80 from outside of the namespace. */
export interface AskedRequest {
  readonly to: string
  readonly port?: number
  readonly method?: string
  readonly path?: string
  readonly host?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly callerNamespace?: string
  readonly callerLabels?: Readonly<Record<string, string>>
  readonly identity?: string
  /** Of a token that was verified; null: none. */
  readonly claims?: Readonly<Record<string, unknown>> | null
}

/** A waypoint before the services of namespace shop. */
export class WaypointAsker {
  readonly #services: Readonly<Record<string, AskedService>>
  readonly #model: WaypointModel

  /** `objects`: YAML of what is tried. @throws Error when the controller has something against it */
  constructor(services: Readonly<Record<string, AskedService>>, objects: string) {
    this.#services = services
    const documents = Object.entries(services).flatMap(([name, each]) => documentsOf(name, each))
    const translation = translateYaml([COMMON, ...documents, objects].join('\n---\n'))
    const { findings, workloads, services: told } = translation
    if (findings.length > 0) throw new Error(findings.map(({ code, path }) => `${code} ${path}`).join(', '))
    const addresses = [
      ...[...workloads.values()].map((value) => create(AddressSchema, { type: { case: 'workload', value } })),
      ...[...told.values()].map((value) => create(AddressSchema, { type: { case: 'service', value } })),
    ].map((each) => decodeAddress(fromBinary(AddressSchema, toBinary(AddressSchema, each))))
    const mesh: MeshConfig = {
      workloads: addresses.flatMap((each) => (each.kind === 'workload' ? [each.workload] : [])),
      services: addresses.flatMap((each) => (each.kind === 'service' ? [each.service] : [])),
      policies: [],
    }
    const state = new MeshState(mesh, 1)
    const own = state.ownWorkload('shop', 'wp-0', 'wp')
    if (own === undefined) throw new Error('the waypoint is not in the mesh')
    const { routes, trafficPolicies, requestPolicies, requestTelemetry } = translation
    const layer7 = { routes, trafficPolicies, requestPolicies, requestTelemetry }
    this.#model = { state, own, network: '', environment: () => '', ...layer7 }
  }

  target(to: string, port = this.#services[to]?.port ?? 80): Target {
    const view = describeTarget(this.#model, `${this.#services[to]?.ip}:${port}`)
    if (view.kind === 'unknown') throw new Error(`${view.refusal.code} ${view.refusal.detail}`)
    return new Target(view)
  }

  /** What is decided, random choices being `random`. */
  ask(request: AskedRequest, random = 0.5) {
    const { to, method = 'GET', path = '/', host = to, headers = {}, claims = null } = request
    const {
      callerNamespace = 'web',
      callerLabels = {},
      identity = 'spiffe://cluster.local/ns/web/sa/front',
    } = request
    const target = this.target(to, request.port)
    const fields = [':method', method, ':scheme', 'http', ':authority', host, ':path', path]
    const [bare = '', ...query] = path.split('?')
    const facts = new RequestFacts(
      [...fields, ...Object.entries(headers).flat()],
      { path: bare, query: query.length > 0 ? `?${query.join('?')}` : '' },
      { namespace: callerNamespace, labels: callerLabels },
    )
    const sender = { ip: '10.0.7.7', identity }
    const token = claims === null ? null : tokenFacts(claims)
    const verdict = target.guard.authorize(sender, { facts, remoteIp: sender.ip, token })
    if (verdict.code !== null) return { kind: 'denied' as const, code: verdict.code, policy: verdict.policy }
    const decision = decideRequest(facts, target.route(facts), target.port, () => random)
    if (decision.kind !== 'forward') return decision
    const { rule, prefix, delayMs } = decision
    if (rule === null) return { kind: 'forward' as const, to: target.ownCluster, delayMs }
    const picked = rule.split.pick(random)
    const sending = sendingOf(rule.rule)
    return {
      kind: 'forward' as const,
      to: picked?.clusterAt(target.port) ?? '',
      delayMs,
      timeoutMs: sending.timeoutMs,
      attemptTimeoutMs: sending.attemptTimeoutMs,
      attempts: sending.policy.attempts,
      retryOn: [...sending.policy.on],
      mirrors: rule.filters.mirrors.map(({ backend, millionths }) => [backend?.service, millionths]),
      headers: pairs(rule.filters.changeRequest(facts.headers, facts, prefix)),
    }
  }

  /** Where a connection of bytes goes. */
  connect(to: string, serverName: string, random = 0.5): TcpChoice | Refusal {
    const routes = this.target(to).tcpRoutes('web')
    if (routes === null) throw new Error(`${to} has no routes`)
    return pickTcpBackend(routes, { namespace: 'web', labels: {} }, serverName, random)
  }

  /** Names of the pods that a cluster has, and its policy. */
  cluster(name: string) {
    const { view, refusal } = describeCluster(this.#model, name, new SharedArrayBuffer(ClusterGauges.BYTES))
    return {
      pods: view.endpoints.map(({ key }) => key.split('/').at(-1)).toSorted(),
      policy: view.policy,
      refusal,
    }
  }
}

function documentsOf(
  name: string,
  { ip, versions = ['v1'], portName = 'http', port = 80 }: AskedService,
): string[] {
  const number = ip.split('.')[3]
  return [
    `{ apiVersion: v1, kind: Service, metadata: { name: ${name}, namespace: shop }, spec: { clusterIP: ${ip}, selector: { app: ${name} }, ports: [{ name: ${portName}, port: ${port}, targetPort: 8080 }] } }`,
    ...versions.map(
      (version, index) =>
        `{ apiVersion: v1, kind: Pod, metadata: { name: ${name}-${version}, namespace: shop, labels: { app: ${name}, version: ${version} } }, spec: { serviceAccountName: ${name} }, status: { phase: Running, podIP: 10.0.${number}.${index + 1}, conditions: [{ type: Ready, status: 'True' }] } }`,
    ),
  ]
}

function pairs(headers: readonly string[]): Record<string, string> {
  const found: Record<string, string> = {}
  for (let at = 0; at + 1 < headers.length; at += 2) found[headers[at] ?? ''] = headers[at + 1] ?? ''
  return found
}
