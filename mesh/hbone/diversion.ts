// SPDX-License-Identifier: Apache-2.0
// The header of a connection that wanted to go round a waypoint and was diverted to it by the destination's node: who
// called. The waypoint sends it on with its own CONNECT, so that whoever gets it back does not divert again.
// Only a peer that has the identity of something behind the waypoint may state it: whoever reads it checks that first.
import { isRefusal, type Refusal, refuse } from '../errors/refusal.ts'
import { formatSpiffeId, parseSpiffeId, type SpiffeId } from '../identity/spiffe.ts'

/** Never in a CONNECT that was not diverted. */
export const DIVERTED_FOR_HEADER = 'x-sidestep-diverted-for'
/** SPEC RFC7239 §6.2: nobody proved who it is. */
const UNKNOWN = 'unknown'

/** A diverted connection. */
export interface Diversion {
  readonly kind: 'diversion'
  /** Who called, as the node that diverted has verified; null: plain text. */
  readonly caller: SpiffeId | null
}

/** The value for a caller. */
export function formatDivertedFor(caller: SpiffeId | null): string {
  return caller === null ? UNKNOWN : formatSpiffeId(caller)
}

/** Reads the value. Null: there is no such header, so it was not diverted. */
export function parseDivertedFor(value: string): Diversion | Refusal | null {
  if (value === '') return null
  if (value === UNKNOWN) return { kind: 'diversion', caller: null }
  const caller = parseSpiffeId(value)
  return isRefusal(caller)
    ? refuse('CONNECT_DIVERSION', `${DIVERTED_FOR_HEADER}: ${caller.detail}`)
    : { kind: 'diversion', caller }
}
