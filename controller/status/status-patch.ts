// SPDX-License-Identifier: Apache-2.0
// What the status of one object should say, as far as it is ours to say.
import type { ConfigObject, ObjectRef } from '../watch/config-object.ts'
import { refOf } from '../watch/config-object.ts'

/** One condition; when it was written follows from what stood there before. */
export interface WantedCondition {
  readonly type: string
  readonly status: 'True' | 'False'
  readonly reason: string
  readonly message: string
}

/** A listener of a Gateway. */
export interface WantedListener {
  readonly name: string
  readonly conditions: readonly WantedCondition[]
}

/** Everything that a Gateway's controller says of it beside conditions. */
export interface WantedGateway {
  /** null: there are none now; those that were known stay. */
  readonly addresses: readonly { readonly type: string; readonly value: string }[] | null
  readonly listeners: readonly WantedListener[]
}

/** One of a route's parents, as its author names it. */
export interface WantedParent {
  readonly parentRef: Readonly<Record<string, unknown>>
  readonly conditions: readonly WantedCondition[]
}

/** What is ours in one status. Whatever it does not name is somebody else's. */
export interface StatusPatch {
  readonly object: ObjectRef
  /** As it was read. */
  readonly apiVersion: string
  /** Of exactly this object, not of a later one of its name. */
  readonly uid: string
  /** The version of the object that this is about. */
  readonly generation: number
  readonly conditions: readonly WantedCondition[]
  /** null: the object is no Gateway. */
  readonly gateway: WantedGateway | null
  /** All of a route that are ours to speak of; null: the object is no route. */
  readonly parents: readonly WantedParent[] | null
}

/** A condition has no room for more (SPEC Kubernetes metav1.Condition: 32768), and people read less. */
export const MAX_STATUS_MESSAGE = 1024 // characters of a condition's message: what is longer is not read

/** The patch of an object. Of one that broke, the first condition says so: what counts is its last good version. */
export function patchOf(
  object: ConfigObject,
  conditions: readonly WantedCondition[],
  gateway: WantedGateway | null = null,
): StatusPatch {
  const { uid, generation } = object.metadata
  const told = conditions.map((each, index) =>
    index > 0 ? each : { ...each, message: messageOf(unreadText(object), each.message) },
  )
  return {
    object: refOf(object),
    apiVersion: object.apiVersion,
    uid,
    generation,
    conditions: told,
    gateway,
    parents: null,
  }
}

/** The patch of a route. Of one that broke, the first condition of each parent says so. */
export function routePatch(
  object: ConfigObject,
  generation: number,
  parents: readonly WantedParent[],
): StatusPatch {
  const told = parents.map(({ parentRef, conditions }) => ({
    parentRef,
    conditions: patchOf(object, conditions).conditions,
  }))
  return { ...patchOf(object, []), generation, parents: told }
}

function unreadText({ unread, metadata }: ConfigObject): string {
  if (unread === undefined) return ''
  return `generation ${unread.generation} cannot be read (${unread.why}), ${metadata.generation} is in force`
}

/** One line for people, cut where nobody reads on. */
export function messageOf(...parts: readonly string[]): string {
  const text = parts.filter((part) => part !== '').join('; ')
  return text.length > MAX_STATUS_MESSAGE ? `${text.slice(0, MAX_STATUS_MESSAGE - 1)}…` : text
}
