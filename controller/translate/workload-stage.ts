// SPDX-License-Identifier: Apache-2.0
// All workloads of the mesh: pods, machines, endpoints of slices and of ServiceEntries. A pod costs a few look-ups when
// nothing about it changed.
import { equals } from '@bufbuild/protobuf'
import type { Authorization } from '../../proto/generated/istio/authorization_pb.js'
import { type Workload, WorkloadSchema } from '../../proto/generated/istio/workload_pb.js'
import { type ConfigObject, type ConfigView, kindKey } from '../watch/config-object.ts'
import {
  keepEqualSlice,
  readSlice,
  SERVICE_NAME_LABEL,
  type SliceMember,
  type SlicePart,
} from './endpoint-slices.ts'
import type { LocalityText } from './locality.ts'
import { Memo } from './memo.ts'
import type { LabelNames } from './named-labels.ts'
import type { Localities } from './namespaces.ts'
import type { NetworkPolicies } from './network-policies.ts'
import { nodeOf, podWorkload } from './pods.ts'
import type { PoliciesResult } from './policy-stage.ts'
import { sameNodeVerdict } from './same-node.ts'
import type { Labels } from './selectors.ts'
import { type EndpointsPart, entryEndpoints } from './service-entry-endpoints.ts'
import type { ServiceInfo } from './service-info.ts'
import type { ServicesResult } from './service-stage.ts'
import type { ConfigFinding, TranslateSettings } from './translation.ts'
import { guardKey, unreachableServices, WaypointGuards } from './waypoint-guards.ts'
import type { Waypoints } from './waypoints.ts'
import { entryLabels, entryWorkload } from './workload-entries.ts'
import { bindWorkload, keepEqualWorkload, missingWaypoint, type WorkloadPart } from './workload-parts.ts'

const POD = kindKey('', 'Pod')
const ENDPOINT_SLICE = kindKey('discovery.k8s.io', 'EndpointSlice')
const WORKLOAD_ENTRY = kindKey('networking.istio.io', 'WorkloadEntry')

/** A WorkloadEntry with the labels that selectors see. */
export interface LabelledEntry {
  readonly object: ConfigObject
  readonly labels: Labels
}

/** What the slices of one translation say. */
export interface SlicesResult {
  /** By `<namespace>/<name>` of the pod. */
  readonly byPod: ReadonlyMap<string, readonly SliceMember[]>
  readonly members: readonly SliceMember[]
  readonly workloads: readonly Workload[]
  readonly findings: readonly ConfigFinding[]
}

/** What every workload of one translation depends on. */
export interface Surroundings {
  readonly namespaces: ReadonlyMap<string, ConfigObject>
  readonly localities: Localities
  readonly services: ServicesResult
  readonly slices: SlicesResult
  readonly policies: PoliciesResult
  readonly networkPolicies: NetworkPolicies
  /** Labels that somebody names. */
  readonly named: LabelNames
}

interface GuardedPart {
  readonly part: WorkloadPart
  readonly guard: Authorization | null
}

/** A pod with what its workload followed from. */
interface Recalled extends GuardedPart {
  /** `<namespace>/<name>`. */
  readonly key: string
  readonly context: object
  readonly locality: LocalityText
  readonly slices: readonly SliceMember[]
}

/** The workloads of one translation. */
export interface WorkloadsResult {
  /** By uid. */
  readonly messages: Map<string, Workload>
  /** Policies that keep others from going round their waypoints, by `<namespace>/<name>`. */
  readonly guards: Map<string, Authorization>
}

const NO_SERVICES: readonly ServiceInfo[] = []
const NO_SLICES: readonly SliceMember[] = []

export class WorkloadStage {
  readonly #settings: TranslateSettings
  readonly #waypoints: Waypoints
  readonly #pods = new Memo<WorkloadPart>(keepEqualWorkload)
  readonly #entries = new Memo<WorkloadPart>(keepEqualWorkload)
  readonly #labels = new Memo<LabelledEntry>()
  readonly #slices = new Memo<SlicePart>(keepEqualSlice)
  readonly #inline = new Memo<EndpointsPart>(keepEqualEndpoints)

  readonly #guards: WaypointGuards
  readonly #contexts = new Memo<object>()
  #contextByNamespace = new Map<string, object>()
  #recalled: ReadonlyMap<ConfigObject, Recalled> = new Map()

  constructor(settings: TranslateSettings, waypoints: Waypoints) {
    this.#settings = settings
    this.#waypoints = waypoints
    this.#guards = new WaypointGuards(waypoints)
  }

  /** Slices of services without selector; first, because policies ask for their ports. */
  readSlices(view: ConfigView, services: ServicesResult, localities: Localities): SlicesResult {
    this.#slices.sweep()
    const byPod = new Map<string, SliceMember[]>()
    const members: SliceMember[] = []
    const workloads: Workload[] = []
    const findings: ConfigFinding[] = []
    const localityOf = (node: string): string => localities.get(node) ?? ''
    for (const slice of view.list(ENDPOINT_SLICE)) {
      const { namespace, name, labels } = slice.metadata
      const info = services.byName.get(`${namespace}/${labels[SERVICE_NAME_LABEL]}`)
      if (info === undefined || info.selector !== null) continue
      const part = this.#slices.get(`${namespace}/${name}`, [slice, info, localities], () =>
        readSlice(slice, info, this.#settings, localityOf),
      )
      for (const [pod, member] of part.members) {
        const key = `${namespace}/${pod}`
        const known = byPod.get(key)
        if (known === undefined) byPod.set(key, [member])
        else known.push(member)
        members.push(member)
      }
      for (const workload of part.workloads) workloads.push(workload)
      for (const finding of part.findings) findings.push(finding)
    }
    return { byPod, members, workloads, findings }
  }

  /** WorkloadEntries with the labels of both places. */
  readEntries(view: ConfigView): readonly LabelledEntry[] {
    this.#labels.sweep()
    return view.list(WORKLOAD_ENTRY).map((object) => {
      const key = `${object.metadata.namespace}/${object.metadata.name}`
      return this.#labels.get(key, [object], () => ({ object, labels: entryLabels(object) }))
    })
  }

  run(
    view: ConfigView,
    entries: readonly LabelledEntry[],
    around: Surroundings,
    findings: ConfigFinding[],
  ): WorkloadsResult {
    for (const memo of [this.#pods, this.#entries]) memo.sweep()
    this.#inline.sweep()
    this.#guards.sweep()
    const workloads = new Map<string, Workload>()
    const guards = new Map<string, Authorization>()
    const add = ({ workload, findings: own }: WorkloadPart, guard: Authorization | null): void => {
      if (workload !== null && guard !== null) guards.set(guardKey(guard), guard)
      if (workload !== null) workloads.set(workload.uid, workload)
      for (const finding of own) findings.push(finding)
    }
    this.#contexts.sweep()
    this.#contextByNamespace = new Map()
    const recalled = new Map<ConfigObject, Recalled>()
    for (const pod of view.list(POD)) {
      const one = this.#recall(pod, around)
      recalled.set(pod, one)
      add(one.part, one.guard)
    }
    this.#recalled = recalled
    for (const entry of entries) {
      const { part, guard } = this.#entry(entry, around)
      add(part, guard)
    }
    for (const workload of around.slices.workloads) workloads.set(workload.uid, workload)
    for (const [key, { facts, infos }] of around.services.entries) {
      const part = this.#inline.get(key, [around.named, facts, ...infos], () =>
        entryEndpoints(facts, infos, this.#settings, around.named),
      )
      for (const workload of part.workloads) workloads.set(workload.uid, workload)
      for (const finding of part.findings) findings.push(finding)
    }
    return { messages: workloads, guards }
  }

  /** A pod that is the same in the same surroundings costs three look-ups. */
  #recall(pod: ConfigObject, around: Surroundings): Recalled {
    const { namespace: home, name } = pod.metadata
    const before = this.#recalled.get(pod)
    const key = before?.key ?? `${home}/${name}`
    const context = this.#contextOf(home, around)
    const locality = around.localities.get(nodeOf(pod)) ?? ''
    const slices = around.slices.byPod.get(key) ?? NO_SLICES
    const isSame = before?.context === context && before.locality === locality && before.slices === slices
    if (!isSame) return { key, context, locality, slices, ...this.#pod(pod, key, locality, slices, around) }
    this.#pods.touch(key)
    this.#guards.touch(before.guard)
    return before
  }

  /** The same object as long as nothing in the namespace or the mesh changed that its pods may depend on. */
  #contextOf(home: string, around: Surroundings): object {
    const known = this.#contextByNamespace.get(home)
    if (known !== undefined) return known
    const inputs = [
      around.namespaces.get(home),
      this.#waypoints.context,
      around.named,
      ...(around.services.selectors.get(home)?.items ?? []),
      ...around.policies.contextOf(home),
      ...around.networkPolicies.contextOf(home),
    ]
    const context = this.#contexts.get(home, inputs, () => ({}))
    this.#contextByNamespace.set(home, context)
    return context
  }

  #pod(
    pod: ConfigObject,
    key: string,
    locality: LocalityText,
    slices: readonly SliceMember[],
    around: Surroundings,
  ): GuardedPart {
    const { namespace: home, labels } = pod.metadata
    const namespace = around.namespaces.get(home)
    const services = around.services.selectors.get(home)?.find(labels) ?? NO_SERVICES
    const all = slices.length === 0 ? services : [...services, ...slices.map(({ info }) => info)]
    const waypoint = bindWorkload(pod, namespace, this.#waypoints)
    const guard = this.#guards.of(home, waypoint, all, around.services.waypoints)
    const unreachable = unreachableServices(guard, all, around.services.waypoints)
    const named = around.policies.namedBy(home, labels, all, missingWaypoint(waypoint))
    const policies = withGuard(named, guard)
    const tunnel = this.#waypoints.tunnelOf(pod)
    const sameNode = sameNodeVerdict(pod, namespace, policies, () =>
      around.networkPolicies.selecting(home, labels),
    )
    const inputs = [
      pod,
      namespace,
      locality,
      waypoint?.binding,
      tunnel,
      sameNode,
      policies.join(),
      unreachable.join(),
      around.named,
      ...services,
      ...slices,
    ]
    const part = this.#pods.get(key, inputs, () =>
      podWorkload(
        pod,
        {
          ...{ namespace, locality, services, slices, policies, unreachable, waypoint, tunnel, sameNode },
          named: around.named,
        },
        this.#settings,
        this.#waypoints,
      ),
    )
    return { part, guard }
  }

  #entry({ object, labels }: LabelledEntry, around: Surroundings): GuardedPart {
    const { namespace: home, name } = object.metadata
    const namespace = around.namespaces.get(home)
    const services = around.services.selectors.get(home)?.find(labels) ?? NO_SERVICES
    const waypoint = bindWorkload(object, namespace, this.#waypoints)
    const guard = this.#guards.of(home, waypoint, services, around.services.waypoints)
    const unreachable = unreachableServices(guard, services, around.services.waypoints)
    const named = around.policies.namedBy(home, labels, services, missingWaypoint(waypoint))
    const policies = withGuard(named, guard)
    const { named: labelNames } = around
    const inputs = [
      ...[object, namespace, waypoint?.binding, policies.join(), unreachable.join(), labelNames],
      ...services,
    ]
    const part = this.#entries.get(`${home}/${name}`, inputs, () =>
      entryWorkload(
        object,
        labels,
        { services, policies, unreachable, waypoint, named: labelNames },
        this.#settings,
        this.#waypoints,
      ),
    )
    return { part, guard }
  }
}

function withGuard(policies: readonly string[], guard: Authorization | null): readonly string[] {
  return guard === null ? policies : [...policies, guardKey(guard)].toSorted()
}

function keepEqualEndpoints(old: EndpointsPart, fresh: EndpointsPart): EndpointsPart {
  const byUid = new Map(old.workloads.map((each) => [each.uid, each]))
  const workloads = fresh.workloads.map((each) => {
    const before = byUid.get(each.uid)
    return before !== undefined && equals(WorkloadSchema, before, each) ? before : each
  })
  return { ...fresh, workloads }
}
