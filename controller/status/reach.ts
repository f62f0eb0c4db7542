// SPDX-License-Identifier: Apache-2.0
// How many workloads a policy is for, and on how many nodes: one look at every workload, whatever the number of policies.
// Pure.
import { TunnelProtocol, type Workload } from '../../proto/generated/istio/workload_pb.js'
import { podUid } from '../translate/pods.ts'
import { type Labels, SelectorIndex } from '../translate/selectors.ts'
import type { TranslateSettings, Translation, WorkloadSelection } from '../translate/translation.ts'
import { GATEWAY_NAME } from '../translate/waypoint-request.ts'
import { entryLabels, entryUid } from '../translate/workload-entries.ts'
import { type ConfigView, kindKey } from '../watch/config-object.ts'

const POD = kindKey('', 'Pod')
const WORKLOAD_ENTRY = kindKey('networking.istio.io', 'WorkloadEntry')

/** Where the workloads of a selection are. */
export interface Reach {
  /** Of them, those in the mesh. */
  readonly workloads: number
  /** Nodes of those. */
  readonly nodes: number
  /** Selected and not in the mesh: no ztunnel sees their traffic. */
  readonly outside: number
}

/** Answers for every selection that was asked for. */
export type FindReach = (selection: WorkloadSelection) => Reach

interface Tally {
  workloads: number
  outside: number
  readonly nodes: Set<string>
}

/** Everything that is selected under one namespace; '' is the mesh. */
interface Place {
  whole: Tally | null
  readonly labelled: SelectorIndex<Tally>
}

/** Counts for all selections at once; equal ones share a count. */
export function measureReach(
  view: ConfigView,
  { workloads }: Pick<Translation, 'workloads'>,
  settings: Pick<TranslateSettings, 'clusterId'>,
  selections: Iterable<WorkloadSelection>,
): FindReach {
  const tallies = new Map<string, Tally>()
  const places = new Map<string, Place>()
  for (const selection of selections) {
    const key = keyOf(selection)
    if (tallies.has(key)) continue
    const tally: Tally = { workloads: 0, outside: 0, nodes: new Set() }
    tallies.set(key, tally)
    const namespace = selection.namespace ?? ''
    const place = places.get(namespace) ?? { whole: null, labelled: new SelectorIndex<Tally>() }
    places.set(namespace, place)
    if (selection.labels === null) place.whole = tally
    else place.labelled.add(new Map(Object.entries(selection.labels)), tally)
  }
  const count = (workload: Workload | undefined, labels: Labels): void => {
    // A finished pod is no workload; a waypoint enforces for others.
    if (workload === undefined || labels[GATEWAY_NAME] !== undefined) return
    for (const place of [places.get(''), places.get(workload.namespace)]) {
      if (place === undefined) continue
      if (place.whole !== null) add(place.whole, workload)
      for (const tally of place.labelled.find(labels)) add(tally, workload)
    }
  }
  if (places.size > 0) {
    for (const pod of view.list(POD)) count(workloads.get(podUid(settings, pod)), pod.metadata.labels)
    for (const entry of view.list(WORKLOAD_ENTRY))
      count(workloads.get(entryUid(settings, entry)), entryLabels(entry))
  }
  return (selection) => {
    const found = tallies.get(keyOf(selection))
    return { workloads: found?.workloads ?? 0, outside: found?.outside ?? 0, nodes: found?.nodes.size ?? 0 }
  }
}

function add(tally: Tally, { tunnelProtocol, node }: Workload): void {
  if (tunnelProtocol === TunnelProtocol.HBONE) {
    tally.workloads++
    tally.nodes.add(node)
  } else tally.outside++
}

function keyOf({ namespace, labels }: WorkloadSelection): string {
  return JSON.stringify([namespace, labels === null ? null : Object.entries(labels).toSorted()])
}
