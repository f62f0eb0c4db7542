// SPDX-License-Identifier: Apache-2.0
// What became of a route at each of its parents, for its status.
import type { ObjectRef } from '../../watch/config-object.ts'
import type { BadRef } from './route-part.ts'

/** SPEC GATEWAY-API reasons of Accepted, and our own for what it has none for. */
export type AcceptedReason =
  | 'Accepted'
  | 'NoMatchingParent'
  | 'NotAllowedByListeners'
  | 'UnsupportedValue'
  /** Ours: no port of the service speaks what the route is about. */
  | 'UnsupportedProtocol'
  /** Ours: a route of a more specific kind has the port. */
  | 'Conflicted'

export interface RouteParentState {
  /** The parentRef as it was written. */
  readonly ref: Readonly<Record<string, unknown>>
  readonly reason: AcceptedReason
  readonly message: string
}

export interface RouteState {
  readonly object: ObjectRef
  /** Of the object as it was translated. */
  readonly generation: number
  /** Those that are served by waypoints of ours; never empty. */
  readonly parents: readonly RouteParentState[]
  readonly badRef: BadRef | null
  /** Rules that are answered 500 instead; null: none. */
  readonly refused: string | null
}
