// SPDX-License-Identifier: Apache-2.0
// Who leads, as a Lease says it. Pure. Clocks of replicas are never compared: a lease is over when this replica, by its
// own monotonic clock, has not seen it change for as long as it is to last.
import { isMap, own, type RawMap } from '../watch/value-mistakes.ts'

/** What is known of the Lease. */
export interface SeenLease {
  /** '' when nobody leads: it was given up. */
  readonly holder: string
  /** Grows with every leader. */
  readonly transitions: number
  /** Its resourceVersion: changes with every renewal. */
  readonly version: string
  /** Monotonic, when this version was first seen. */
  readonly sinceMs: number
}

/** `renew` and `take` write and thereby may fail; `wait`: another leads. */
export type LeaseStep = 'renew' | 'take' | 'wait'

/** `ttlMs`: how long a leader may be silent. */
export function decideLease(seen: SeenLease, holder: string, nowMs: number, ttlMs: number): LeaseStep {
  if (seen.holder === holder) return 'renew'
  if (seen.holder === '') return 'take'
  return nowMs - seen.sinceMs >= ttlMs ? 'take' : 'wait'
}

/** Reads a Lease; whatever is missing or of another type is nobody's. `before` keeps the time of an unchanged one. */
export function seeLease(lease: RawMap, before: SeenLease | null, nowMs: number): SeenLease {
  const metadata = mapOf(own(lease, 'metadata'))
  const spec = mapOf(own(lease, 'spec'))
  const { holderIdentity, leaseTransitions } = spec
  const version = typeof metadata.resourceVersion === 'string' ? metadata.resourceVersion : ''
  return {
    holder: typeof holderIdentity === 'string' ? holderIdentity : '',
    transitions: Number.isSafeInteger(leaseTransitions) ? Math.max(0, Number(leaseTransitions)) : 0,
    version,
    sinceMs: before !== null && before.version === version ? before.sinceMs : nowMs,
  }
}

function mapOf(value: unknown): RawMap {
  return isMap(value) ? value : {}
}
