// SPDX-License-Identifier: Apache-2.0
// A target as requests meet it: its routes compiled, once for each worker and version of it.
import type { HttpRoutes, RouteList, TcpRoutes } from '../../proto/generated/sidestep/v1/routes_pb.js'
import type { RequestFacts } from '../decide/request-facts.ts'
import { HttpRouteTable, type RouteHit } from '../decide/route-match.ts'
import { ownCluster, type ServiceTarget, type TargetView, type WorkloadTarget } from '../model/views.ts'
import { TargetTelemetry } from '../records/target-telemetry.ts'
import { TargetGuard } from './target-guard.ts'

/** Routes of one list, by the consumer they are for; '': everybody. */
type Tables = ReadonlyMap<string, HttpRouteTable>

/** What is served. */
export class Target {
  readonly view: ServiceTarget | WorkloadTarget
  /** Port of the service, or of the workload: for redirects. */
  readonly port: number
  readonly guard: TargetGuard
  /** The cluster of a service that no rule sends elsewhere; '': a workload has one of each connection. */
  readonly ownCluster: string
  /** null: nobody said anything of its log and traces. */
  readonly telemetry: TargetTelemetry | null
  readonly #http: Tables
  readonly #tcp: ReadonlyMap<string, TcpRoutes>

  constructor(view: ServiceTarget | WorkloadTarget) {
    this.view = view
    this.port = Number(view.authority.slice(view.authority.lastIndexOf(':') + 1))
    this.ownCluster = view.kind === 'service' ? ownCluster(view) : ''
    this.guard = new TargetGuard(view.guards, view.authority)
    this.telemetry = view.telemetry === null ? null : new TargetTelemetry(view.telemetry)
    const lists: readonly RouteList[] = view.kind === 'service' ? (view.routes?.lists ?? []) : []
    this.#http = new Map(
      lists.flatMap(({ consumerNamespace, routes }) =>
        routes.case === 'http' ? [[consumerNamespace, new HttpRouteTable(routes.value as HttpRoutes)]] : [],
      ),
    )
    this.#tcp = new Map(
      lists.flatMap(({ consumerNamespace, routes }) =>
        routes.case === 'tcp' ? [[consumerNamespace, routes.value as TcpRoutes]] : [],
      ),
    )
  }

  /** True when its connections are routed as bytes, whatever they speak. */
  get isTcpRouted(): boolean {
    return this.#tcp.size > 0 && this.#http.size === 0
  }

  /** True when some route is for callers of certain labels. */
  get asksCallerLabels(): boolean {
    const lists: readonly RouteList[] = this.view.kind === 'service' ? (this.view.routes?.lists ?? []) : []
    return lists.some(({ routes }) => {
      if (routes.case === 'http')
        return routes.value.entries.some(({ match }) => hasFields(match?.sourceLabels ?? {}))
      return routes.value?.rules.some(({ sourceLabels }) => hasFields(sourceLabels)) === true
    })
  }

  /** True when it matters which server a TLS client asks for. */
  get asksServerName(): boolean {
    const isRouted = [...this.#tcp.values()].some(({ rules }) =>
      rules.some(({ serverNames }) => serverNames.length > 0),
    )
    return isRouted || (this.view.appProtocol === 'TLS' && !this.guard.isOpen)
  }

  /** The rule of a request; undefined: there are no routes for its caller, null: none of them matches. */
  route(request: RequestFacts): RouteHit | null | undefined {
    const table = this.#http.get(request.caller.namespace) ?? this.#http.get('')
    return table === undefined ? undefined : table.find(request)
  }

  /** Routes of a caller's connections; null: they go to the service as they are. */
  tcpRoutes(namespace: string): TcpRoutes | null {
    return this.#tcp.get(namespace) ?? this.#tcp.get('') ?? null
  }
}

function hasFields(labels: Readonly<Record<string, string>>): boolean {
  return Object.keys(labels).length > 0
}

/** null: it is none that is served. */
export function targetOf(view: TargetView): Target | null {
  return view.kind === 'unknown' ? null : new Target(view)
}
