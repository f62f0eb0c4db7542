// SPDX-License-Identifier: Apache-2.0
// What a question wants to be between and beside its client and server.

/** A place; every field the least it can be is the usual one. */
export interface Place {
  /** Addresses the server has beside its own. */
  readonly destinationCount: number
  /** Client and server are pods of one node. */
  readonly isSameNode: boolean
  /** The server is not in the mesh: what goes there is passed through. */
  readonly isServerPlain: boolean
  /** Another pair of pods, on the same nodes: `talker` and `listener`. */
  readonly hasNeighbour: boolean
  /** Rules of the policy that is looked at for every connection; none of them denies. */
  readonly ruleCount: number
}

/** Two nodes, one pod each, one rule. */
export const USUAL_PLACE: Place = {
  destinationCount: 0,
  isSameNode: false,
  isServerPlain: false,
  hasNeighbour: false,
  ruleCount: 1,
}

/** True when what is carried there has to be in a tunnel. */
export function needsTunnel({ isSameNode, isServerPlain }: Place): boolean {
  return !isSameNode && !isServerPlain
}
