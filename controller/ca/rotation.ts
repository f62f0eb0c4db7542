// SPDX-License-Identifier: Apache-2.0
// How a root is replaced without one failed handshake. Pure: state in, state out; root-authority.ts keeps it beside
// the keys. Two leaves meet if each was signed by a root in the other's bundle; a bundle comes with a leaf and lives as
// long. Hence two waits:
//
//   steady(old) ──begin──► distribute ──────────────► switched ─────────────► steady(new)
//   old signs              old signs                  new signs               new signs
//   bundle: old            bundle: old, new           bundle: old, new        bundle: new
//                          until every leaf whose     until every leaf
//                          bundle lacks new is over   signed by old is over
//
// Both ends are known exactly: no leaf ends after `leavesUntilMs` of its signer, and that is written, by
// compare-and-swap, before such a leaf exists. A replica that has not heard of a step cannot write, so it can only sign
// leaves that end before the wait does.
import { type Refusal, refuse } from '../../mesh/errors/refusal.ts'

/** One root with its key. Secret. */
export interface RootRecord {
  readonly certificatePem: string
  readonly privateKeyPem: string
  /** No leaf of this root ends later. 0: it has signed none. */
  readonly leavesUntilMs: number
}

/** What is stored. `old` is the only root while steady. */
export type AuthorityState =
  | { readonly phase: 'steady'; readonly old: RootRecord }
  | {
      readonly phase: 'distribute'
      readonly old: RootRecord
      readonly next: RootRecord
      readonly sinceMs: number
      /** The last leaf whose bundle lacks `next` ends then. */
      readonly waitUntilMs: number
    }
  | {
      readonly phase: 'switched'
      readonly old: RootRecord
      readonly next: RootRecord
      readonly sinceMs: number
    }

/** What an operator is shown. */
export interface RotationStatus {
  readonly phase: AuthorityState['phase']
  /** Null while steady. */
  readonly sinceMs: number | null
  /** The next step is safe from then on, whatever nodes say. Null while steady. */
  readonly safeFromMs: number | null
}

/** What may shorten a wait, and what lengthens it. */
export interface Acknowledgement {
  /** Every workload of every node holds a bundle with the new root. */
  readonly hasEveryNode: boolean
  /** By how much clocks may differ; within it every replica has read the state again, or signs no more. */
  readonly settleMs: number
}

/** The root that signs. */
export function signerOf(state: AuthorityState): RootRecord {
  return state.phase === 'switched' ? state.next : state.old
}

/** The roots that leaves are given, the signer first. */
export function bundleOf(state: AuthorityState): readonly RootRecord[] {
  if (state.phase === 'steady') return [state.old]
  return state.phase === 'switched' ? [state.next, state.old] : [state.old, state.next]
}

/** The state with a later end for the leaves of its signer. */
export function withLeavesUntil(state: AuthorityState, leavesUntilMs: number): AuthorityState {
  const extend = (root: RootRecord): RootRecord => ({
    ...root,
    leavesUntilMs: Math.max(root.leavesUntilMs, leavesUntilMs),
  })
  return state.phase === 'switched'
    ? { ...state, next: extend(state.next) }
    : { ...state, old: extend(state.old) }
}

/** Begins: from now on every leaf comes with the next root too. */
export function beginRotation(
  state: AuthorityState,
  next: RootRecord,
  nowMs: number,
): AuthorityState | Refusal {
  if (state.phase !== 'steady') return refuse('ROTATION_NOT_READY', 'a rotation is under way')
  return {
    phase: 'distribute',
    old: state.old,
    next,
    sinceMs: nowMs,
    waitUntilMs: state.old.leavesUntilMs,
  }
}

/** The next step, or why not yet. */
export function advanceRotation(
  state: AuthorityState,
  nowMs: number,
  acknowledgement: Acknowledgement,
): AuthorityState | Refusal {
  if (state.phase === 'steady') return refuse('ROTATION_NOT_READY', 'no rotation is under way')
  const { hasEveryNode, settleMs } = acknowledgement
  const { safeFromMs } = rotationStatus(state, settleMs)
  const isSafe = nowMs >= (safeFromMs ?? Number.POSITIVE_INFINITY)
  if (state.phase === 'switched') {
    // Nobody's word can shorten this one: a leaf of the old root is refused the moment its peers forget that root.
    if (!isSafe) return notYet('leaves of the old root are valid', safeFromMs)
    return { phase: 'steady', old: state.next }
  }
  const isAcknowledged = hasEveryNode && nowMs >= state.sinceMs + settleMs
  if (!isSafe && !isAcknowledged) return notYet('not every node has the new root', safeFromMs)
  return { phase: 'switched', old: state.old, next: state.next, sinceMs: nowMs }
}

/** Gives up before the new root has signed anything. Later there is only forward: begin another rotation. */
export function cancelRotation(state: AuthorityState): AuthorityState | Refusal {
  if (state.phase !== 'distribute')
    return refuse('ROTATION_NOT_READY', 'only the first phase can be given up')
  return { phase: 'steady', old: state.old }
}

/** Where it stands. */
export function rotationStatus(state: AuthorityState, settleMs: number): RotationStatus {
  if (state.phase === 'steady') return { phase: 'steady', sinceMs: null, safeFromMs: null }
  const lastLeafMs = state.phase === 'distribute' ? state.waitUntilMs : state.old.leavesUntilMs
  return { phase: state.phase, sinceMs: state.sinceMs, safeFromMs: lastLeafMs + settleMs }
}

/** Writes a state for the store. Secret: it holds keys. */
export function formatAuthorityState(state: AuthorityState): string {
  return `${JSON.stringify({ format: 1, ...state }, null, 1)}\n`
}

/** Reads a stored state; its certificates and keys are looked at by who uses them. */
export function parseAuthorityState(text: string): AuthorityState | Refusal {
  let read: unknown
  try {
    read = JSON.parse(text)
  } catch {
    return refuse('CA_KEY', 'the stored state is no JSON')
  }
  const { format, phase, old, next, sinceMs, waitUntilMs } = (read ?? {}) as Record<string, unknown> // as: looked at below
  if (format !== 1 || !isRoot(old)) return refuse('CA_KEY', 'the stored state is of another format')
  if (phase === 'steady') return { phase, old }
  if (!isRoot(next) || !isTime(sinceMs)) return refuse('CA_KEY', 'the stored state lacks its second root')
  if (phase === 'switched') return { phase, old, next, sinceMs }
  if (phase === 'distribute' && isTime(waitUntilMs)) return { phase, old, next, sinceMs, waitUntilMs }
  return refuse('CA_KEY', 'the stored state has an unknown phase')
}

function isRoot(value: unknown): value is RootRecord {
  if (typeof value !== 'object' || value === null) return false
  const { certificatePem, privateKeyPem, leavesUntilMs } = value as Record<string, unknown> // as: looked at here
  return typeof certificatePem === 'string' && typeof privateKeyPem === 'string' && isTime(leavesUntilMs)
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}

function notYet(why: string, safeFromMs: number | null): Refusal {
  return refuse('ROTATION_NOT_READY', `${why} until ${new Date(safeFromMs ?? 0).toISOString()}`)
}
