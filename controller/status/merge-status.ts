// SPDX-License-Identifier: Apache-2.0
// Puts what is ours into a status and leaves the rest as it stands: conditions of others, and fields of others, keep
// every byte and their order. Pure; what stands there may be anything.

import { WAYPOINT_CONTROLLER } from '../translate/waypoint-class.ts'
import { isMap, own, type RawMap } from '../watch/value-mistakes.ts'
import { isOurParent } from './route-status.ts'
import type { StatusPatch, WantedCondition, WantedParent } from './status-patch.ts'

/** How much a status changes: not at all, in its words only, or in what it says. */
export type StatusChange = 'none' | 'words' | 'facts'

export interface MergedStatus {
  readonly status: RawMap
  readonly change: StatusChange
}

/** `nowMs` becomes the time of transitions. */
export function mergeStatus(current: RawMap, patch: StatusPatch, nowMs: number): MergedStatus {
  const changes: StatusChange[] = []
  // SPEC Kubernetes metav1.Time: seconds, UTC.
  const now = new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z')
  const merge = (conditions: unknown, wanted: readonly WantedCondition[]): readonly unknown[] => {
    const merged = mergeConditions(listOf(conditions), wanted, patch.generation, now)
    changes.push(merged.change)
    return merged.conditions
  }
  if (patch.parents !== null) {
    const parents = mergeParents(listOf(own(current, 'parents')), patch.parents, merge, changes)
    return { status: { ...current, parents }, change: strongest(changes) }
  }
  const conditions = merge(own(current, 'conditions'), patch.conditions)
  const { gateway } = patch
  if (gateway === null) return { status: { ...current, conditions }, change: strongest(changes) }
  const known = listOf(own(current, 'addresses'))
  const addresses = gateway.addresses ?? known
  if (JSON.stringify(addresses) !== JSON.stringify(known)) changes.push('facts')
  const before = listOf(own(current, 'listeners'))
  if (before.length !== gateway.listeners.length) changes.push('facts')
  const listeners = gateway.listeners.map(({ name, conditions: wanted }, index) => {
    const fields = { name, ...NO_ROUTES }
    const old = before.filter(isMap).find((each) => own(each, 'name') === name) ?? {}
    if (old !== before[index] || !hasFields(old, fields)) changes.push('facts')
    return { ...old, ...fields, conditions: merge(own(old, 'conditions'), wanted) }
  })
  const status = { ...current, addresses, conditions, listeners }
  return { status, change: strongest(changes) }
}

type MergeConditions = (before: unknown, wanted: readonly WantedCondition[]) => readonly unknown[]

/** Entries of other controllers stay as they stand; of ours there is one for each parent, and no other. */
function mergeParents(
  before: readonly unknown[],
  wanted: readonly WantedParent[],
  merge: MergeConditions,
  changes: StatusChange[],
): readonly unknown[] {
  const left = new Map(wanted.map((each) => [refText(each.parentRef), each]))
  const parents: unknown[] = []
  for (const each of before) {
    if (!isMap(each) || !isOurParent(each)) {
      parents.push(each)
      continue
    }
    const key = refText(own(each, 'parentRef'))
    const want = left.get(key)
    if (!left.delete(key) || want === undefined) {
      changes.push('facts') // a parent that is not ours any more, or was told twice
      continue
    }
    const types = new Set(want.conditions.map(({ type }) => type))
    const known = listOf(own(each, 'conditions'))
    const kept = known.filter((condition) => !isMap(condition) || types.has(String(own(condition, 'type'))))
    if (kept.length !== known.length) changes.push('facts')
    parents.push({ ...each, conditions: merge(kept, want.conditions) })
  }
  for (const { parentRef, conditions } of left.values()) {
    changes.push('facts')
    parents.push({ parentRef, controllerName: WAYPOINT_CONTROLLER, conditions: merge([], conditions) })
  }
  return parents
}

/** The same whatever the order of its fields, and with the defaults that an apiserver writes. SPEC GATEWAY-API ParentReference. */
function refText(ref: unknown): string {
  const fields = isMap(ref) ? ref : {}
  const withDefaults = { group: 'gateway.networking.k8s.io', kind: 'Gateway', ...fields }
  return JSON.stringify(Object.entries(withDefaults).toSorted(([left], [right]) => (left < right ? -1 : 1)))
}

/** True when somebody has spoken for us about a later version of the object: what we have read is older. */
export function isAhead(current: RawMap, { conditions, generation, parents }: StatusPatch): boolean {
  if (parents !== null) {
    return listOf(own(current, 'parents'))
      .filter(isMap)
      .filter(isOurParent)
      .flatMap((each) => listOf(own(each, 'conditions')))
      .some((each) => isMap(each) && generationOf(each) > generation)
  }
  const ours = new Set(conditions.map(({ type }) => type))
  return listOf(own(current, 'conditions')).some(
    (each) => isMap(each) && ours.has(String(own(each, 'type'))) && generationOf(each) > generation,
  )
}

/** No kind of route is served, so that none is attached. */
const NO_ROUTES = { supportedKinds: [], attachedRoutes: 0 }

function hasFields(map: RawMap, fields: RawMap): boolean {
  return Object.entries(fields).every(
    ([key, value]) => JSON.stringify(own(map, key)) === JSON.stringify(value),
  )
}

function mergeConditions(
  before: readonly unknown[],
  wanted: readonly WantedCondition[],
  generation: number,
  now: string,
): { readonly conditions: readonly unknown[]; readonly change: StatusChange } {
  const changes: StatusChange[] = []
  const left = new Map(wanted.map((each) => [each.type, each]))
  const ours = new Set(left.keys())
  const conditions: unknown[] = []
  for (const each of before) {
    const type = isMap(each) ? own(each, 'type') : undefined
    if (!isMap(each) || typeof type !== 'string' || !ours.has(type)) {
      conditions.push(each)
      continue
    }
    const want = left.get(type)
    left.delete(type)
    if (want === undefined) {
      changes.push('facts') // a second one of our type: it may say anything
      continue
    }
    const change = compare(each, want, generation)
    changes.push(change)
    conditions.push(change === 'none' ? each : written(each, want, generation, now))
  }
  for (const want of left.values()) {
    changes.push('facts')
    conditions.push(written({}, want, generation, now))
  }
  return { conditions, change: strongest(changes) }
}

function compare(before: RawMap, want: WantedCondition, generation: number): StatusChange {
  const isSame = (key: keyof WantedCondition): boolean => own(before, key) === want[key]
  if (!isSame('status') || !isSame('reason') || generationOf(before) !== generation) return 'facts'
  return isSame('message') ? 'none' : 'words'
}

/** SPEC Kubernetes metav1.Condition: lastTransitionTime changes with `status` and with nothing else. */
function written(before: RawMap, want: WantedCondition, generation: number, now: string): RawMap {
  const since = own(before, 'lastTransitionTime')
  const isTime = typeof since === 'string' && Number.isFinite(Date.parse(since))
  const isKept = own(before, 'status') === want.status && isTime
  return {
    ...before,
    ...want,
    observedGeneration: generation,
    lastTransitionTime: isKept ? since : now,
  }
}

/** Istio writes it as a text, Kubernetes as a number. */
function generationOf(condition: RawMap): number {
  const value = own(condition, 'observedGeneration')
  return typeof value === 'number' || typeof value === 'string' ? Number(value) : 0
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function strongest(changes: readonly StatusChange[]): StatusChange {
  if (changes.includes('facts')) return 'facts'
  return changes.includes('words') ? 'words' : 'none'
}
