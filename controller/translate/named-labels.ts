// SPDX-License-Identifier: Apache-2.0
// Labels that routes and subsets of the mesh name. Waypoints are told these of every workload, and no others: all labels of all
// pods would be most of what there is to tell.
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { WORKLOAD_LABELS } from '../../mesh/discovery/protocol.ts'
import type { ExtensionSchema } from '../../proto/generated/istio/workload_pb.js'
import type { ServiceRoutes } from '../../proto/generated/sidestep/v1/routes_pb.js'
import type { TrafficPolicy } from '../../proto/generated/sidestep/v1/traffic_policy_pb.js'
import { WorkloadLabelsSchema } from '../../proto/generated/sidestep/v1/workloads_pb.js'
import type { Labels } from './selectors.ts'

/** Names of labels that workloads are told by, of the whole mesh, in the order of the alphabet; what needs further ones matches nobody. */
export const MAX_NAMED_LABELS = 256

/** In order; the same array as long as it would be equal. */
export type LabelNames = readonly string[]

/** Finds them, again and again. */
export class NamedLabels {
  /** Of each message. */
  readonly #read = new WeakMap<object, LabelNames>()
  #names: LabelNames = []
  /** Those of the last time that were too many. */
  untold: ReadonlySet<string> = new Set()

  find(routes: Iterable<ServiceRoutes>, policies: Iterable<TrafficPolicy>): LabelNames {
    const found = new Set<string>()
    for (const each of routes) for (const name of this.#of(each, namedByRoutes)) found.add(name)
    for (const each of policies) for (const name of this.#of(each, namedBySubsets)) found.add(name)
    const all = [...found].toSorted()
    const names = all.slice(0, MAX_NAMED_LABELS)
    this.untold = new Set(all.slice(MAX_NAMED_LABELS))
    const isSame = names.length === this.#names.length && names.every((each, at) => each === this.#names[at])
    if (!isSame) this.#names = names
    return this.#names
  }

  #of<T extends object>(message: T, read: (message: T) => Iterable<string>): LabelNames {
    let names = this.#read.get(message)
    if (names === undefined) {
      names = [...new Set(read(message))]
      this.#read.set(message, names)
    }
    return names
  }
}

function* namedByRoutes({ ports }: ServiceRoutes): Iterable<string> {
  for (const { routes } of ports.flatMap(({ lists }) => lists)) {
    if (routes.case === 'http')
      for (const { match } of routes.value.entries) yield* Object.keys(match?.sourceLabels ?? {})
    else for (const { sourceLabels } of routes.value?.rules ?? []) yield* Object.keys(sourceLabels)
  }
}

function* namedBySubsets({ subsets }: TrafficPolicy): Iterable<string> {
  for (const { labels } of subsets) yield* Object.keys(labels)
}

/** What a workload of these labels says of them; nothing where it has none that anybody names. */
export function labelsExtension(
  labels: Labels,
  names: LabelNames,
): readonly MessageInitShape<typeof ExtensionSchema>[] {
  const named = names.flatMap((name) => {
    const value = Object.hasOwn(labels, name) ? labels[name] : undefined
    return value === undefined ? [] : [[name, value] as const]
  })
  if (named.length === 0) return []
  const message = create(WorkloadLabelsSchema, { labels: Object.fromEntries(named) })
  return [{ name: WORKLOAD_LABELS, config: anyPack(WorkloadLabelsSchema, message) }]
}
