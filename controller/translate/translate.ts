// SPDX-License-Identifier: Apache-2.0
// Kubernetes' and Istio's objects in, resources for ztunnels and waypoints out: nodes and namespaces, then services, slices,
// policies and routes, then the workloads that all of them say something about. Pure but for what it remembers: a result whose inputs are the
// same objects is the same object again, so that identity says "unchanged" to whoever publishes.
import { type ConfigObject, type ConfigView, kindKey } from '../watch/config-object.ts'
import { boundFindings } from './bounded-findings.ts'
import { NamedLabels } from './named-labels.ts'
import { Places } from './namespaces.ts'
import { NetworkPolicyStage } from './network-policies.ts'
import { PolicyStage } from './policy-stage.ts'
import { RequestStage } from './requests/request-stage.ts'
import { hostIndex } from './routes/backend-finder.ts'
import { RouteStage } from './routes/route-stage.ts'
import { TrafficPolicyStage } from './routes/traffic-policy-stage.ts'
import { waypointScopes } from './routes/waypoint-scopes.ts'
import { ServiceStage } from './service-stage.ts'
import { targetFinder } from './target-finder.ts'
import { TelemetryStage } from './telemetry/telemetry-stage.ts'
import type { ConfigFinding, TranslateSettings, Translation } from './translation.ts'
import { unservedFindings } from './unserved-kinds.ts'
import { untoldFindings } from './untold-labels.ts'
import { Waypoints } from './waypoints.ts'
import { bindWorkload } from './workload-parts.ts'
import { WorkloadStage } from './workload-stage.ts'

const POD = kindKey('', 'Pod')

/** Translates one mesh, again and again. Never throws on what objects say: that becomes findings. */
export class Translator {
  readonly #settings: TranslateSettings
  readonly #places = new Places()
  readonly #waypoints: Waypoints
  readonly #services: ServiceStage
  readonly #policies: PolicyStage
  readonly #networkPolicies = new NetworkPolicyStage()
  readonly #workloads: WorkloadStage
  readonly #routes = new RouteStage()
  readonly #trafficPolicies = new TrafficPolicyStage()
  readonly #requests = new RequestStage()
  readonly #telemetry = new TelemetryStage()
  readonly #namedLabels = new NamedLabels()

  constructor(settings: TranslateSettings) {
    this.#settings = settings
    this.#waypoints = new Waypoints(settings)
    this.#services = new ServiceStage(settings, this.#waypoints)
    this.#policies = new PolicyStage(settings)
    this.#workloads = new WorkloadStage(settings, this.#waypoints)
  }

  translate(view: ConfigView): Translation {
    this.#waypoints.use(view)
    const localities = this.#places.localities(view)
    const namespaces = this.#places.namespaces(view)
    const services = this.#services.run(view, namespaces)
    const slices = this.#workloads.readSlices(view, services, localities)
    const entries = this.#workloads.readEntries(view)
    const waypoints = this.#waypoints
    let pods: ReadonlyMap<string, readonly ConfigObject[]> | null = null
    const find = targetFinder({
      waypoints,
      services,
      slices: slices.members,
      podsOf: (namespace) => {
        pods ??= Map.groupBy(view.list(POD), ({ metadata }) => metadata.namespace)
        return pods.get(namespace) ?? []
      },
      entriesOf: (namespace) => entries.filter(({ object }) => object.metadata.namespace === namespace),
      *workloadWaypoints() {
        const objects = [...view.list(POD), ...entries.map(({ object }) => object)]
        for (const object of objects) {
          const waypoint = bindWorkload(object, namespaces.get(object.metadata.namespace), waypoints)
          if (waypoint !== null) yield waypoint
        }
      },
      rootNamespace: this.#settings.rootNamespace,
    })
    const policies = this.#policies.run(view, find)
    const hosts = hostIndex(services, this.#settings.clusterDomain)
    const routes = this.#routes.run({ view, services, waypoints, hosts })
    const scopes = waypointScopes(view, services, routes.backends, (name) => waypoints.identitiesOf(name))
    const trafficPolicies = this.#trafficPolicies.run({ view, services, hosts, scopes })
    const { rootNamespace } = this.#settings
    const requests = this.#requests.run({ view, find, policies: policies.targeted, scopes, rootNamespace })
    const telemetry = this.#telemetry.run({ view, find, scopes, rootNamespace })
    const ofWorkloads: ConfigFinding[] = []
    const networkPolicies = this.#networkPolicies.run(view)
    const named = this.#namedLabels.find(routes.messages.values(), trafficPolicies.messages.values())
    const around = { namespaces, localities, services, slices, policies, networkPolicies, named }
    const workloads = this.#workloads.run(view, entries, around, ofWorkloads)
    return {
      workloads: workloads.messages,
      services: services.messages,
      authorizations: new Map([...policies.messages, ...workloads.guards]),
      routes: routes.messages,
      trafficPolicies: trafficPolicies.messages,
      requestPolicies: requests.messages,
      requestTelemetry: telemetry.messages,
      waypointScopes: scopes,
      routeStates: routes.states,
      findings: boundFindings([
        ...this.#places.findings(view),
        ...services.findings,
        ...slices.findings,
        ...policies.findings,
        ...routes.findings,
        ...trafficPolicies.findings,
        ...requests.findings,
        ...telemetry.findings,
        ...ofWorkloads,
        ...unservedFindings(view),
        ...untoldFindings(view, this.#namedLabels.untold),
      ]),
      enforcement: [...policies.enforcement, ...requests.enforcement],
    }
  }
}
