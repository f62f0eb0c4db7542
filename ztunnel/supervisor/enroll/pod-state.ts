// SPDX-License-Identifier: Apache-2.0
// What the agent of a node makes of one pod: states, what happens to it, what is to be done then. Pure; pod-watch.ts does it.
import type { PodGoal } from './decide-enrolment.ts'
import type { Redirection } from './redirection-teller.ts'

/** A pod that nobody serves for this long is told as such: a data process is replaced within a second. */
const UNSERVED_MS = 5_000
/** Others get so long to hear that a pod leaves, before it does. */
const LEAVE_MS = 1_000

/**
 *   out ─► wanted ─► enrolling ─► enrolled ─► leaving ─► out
 *    ▲       │           │  ▲                   │
 *    └───────┘           ▼  │    wanted again:  └─► enrolled
 *                       failed
 *
 * A pod that is deleted, or has ended, is forgotten at once from wherever it is.
 */
export type PodState =
  /** Not in the mesh, and need not be. */
  | 'out'
  /** Belongs to the mesh; its network namespace is sought. */
  | 'wanted'
  /** Its namespace is handed over. */
  | 'enrolling'
  /** It could not be enrolled; the roster tries again. */
  | 'failed'
  /** Its rules and listeners stand. */
  | 'enrolled'
  /** Belongs to the mesh no more; goes out when others have heard it. */
  | 'leaving'

/** All that is remembered of a pod. */
export interface PodStanding {
  readonly state: PodState
  /** What the cluster has been told. */
  readonly told: string | null
  /** A data process serves it. */
  readonly isServed: boolean
  /** Since when it is not both enrolled and served. */
  readonly unservedMs: number
  /** When it goes out; null while others are not told. */
  readonly leaveAtMs: number | null
  /** The namespace that was handed over; 0 for none. */
  readonly inode: number
}

/** Of a pod that is there. */
export type PresentGoal = Exclude<PodGoal, 'hopeless'>

/** What happens to a pod. */
export type PodEvent =
  /** What it should be has been decided. */
  | { readonly type: 'decided'; readonly goal: PresentGoal }
  /** The apiserver shows it, with what was told of it. `goal` null: it cannot be decided yet. */
  | { readonly type: 'shown'; readonly told: string | null; readonly goal: PresentGoal | null }
  /** The cluster has been told. */
  | { readonly type: 'told'; readonly redirection: Redirection }
  /** Its namespace is there. */
  | { readonly type: 'found'; readonly inode: number }
  /** The roster has answered for the namespace that was handed over. */
  | { readonly type: 'answered'; readonly isEnrolled: boolean }
  /** Its rules and listeners stand. */
  | { readonly type: 'enrolled' }
  /** A data process serves it; none does. */
  | { readonly type: 'served' }
  | { readonly type: 'unserved' }
  /** Time has passed. */
  | { readonly type: 'passed' }

/** What is to be done; at most one thing. */
export type PodEffect =
  | 'none'
  /** Its namespace is to be looked for now. */
  | 'seek'
  /** The namespace that was found is to be handed to the roster. */
  | 'enrol'
  /** The roster is to give it up. */
  | 'release'
  /** It was not enrolled by us: what somebody before us has left in its namespace is to be removed. */
  | 'restore'

/** A pod that nothing is known of yet. */
export function newStanding(nowMs: number): PodStanding {
  return { state: 'out', told: null, isServed: false, unservedMs: nowMs, leaveAtMs: null, inode: 0 }
}

/** Its namespace is of interest. */
export function isSought({ state }: PodStanding): boolean {
  return state !== 'out' && state !== 'leaving'
}

/** What becomes of a pod. */
export function nextStanding(
  before: PodStanding,
  event: PodEvent,
  nowMs: number,
): { readonly standing: PodStanding; readonly effect: PodEffect } {
  const { standing, effect } = step(before, event, nowMs)
  const isHeard = standing.state === 'leaving' && standing.told === null && standing.leaveAtMs === null
  return { standing: isHeard ? { ...standing, leaveAtMs: nowMs + LEAVE_MS } : standing, effect }
}

/** What is to be said of it; undefined: what was said before may stay. */
export function redirectionOf(
  { state, isServed, unservedMs }: PodStanding,
  nowMs: number,
): Redirection | undefined {
  if (state === 'out' || state === 'leaving') return null
  if (state === 'enrolled' && isServed) return 'enabled'
  if (nowMs - unservedMs < UNSERVED_MS) return undefined
  return state === 'enrolled' ? 'pending' : null
}

interface Step {
  readonly standing: PodStanding
  readonly effect: PodEffect
}

function step(before: PodStanding, event: PodEvent, nowMs: number): Step {
  const { state } = before
  switch (event.type) {
    case 'decided':
      return decided(before, event.goal)
    case 'shown': {
      const shown = { ...before, told: event.told }
      const { standing } = event.goal === null ? stay(shown) : decided(shown, event.goal)
      // Something has become of it: perhaps its first process.
      return { standing, effect: standing.state === 'wanted' ? 'seek' : 'none' }
    }
    case 'told':
      return stay({ ...before, told: event.redirection })
    case 'found': {
      if (!isSought(before) || before.inode === event.inode) return stay(before)
      const fresh = { ...before, inode: event.inode, isServed: false, unservedMs: nowMs }
      return enter(fresh, 'enrolling', 'enrol')
    }
    case 'answered':
      // By `enrolled` it may be further already.
      if (state !== 'enrolling') return stay(before)
      return enter(before, event.isEnrolled ? 'enrolled' : 'failed')
    case 'enrolled':
      return state === 'enrolling' || state === 'failed' ? enter(before, 'enrolled') : stay(before)
    case 'served':
      return stay({ ...before, isServed: true })
    case 'unserved':
      return stay({
        ...before,
        isServed: false,
        unservedMs: before.isServed ? nowMs : before.unservedMs,
      })
    case 'passed': {
      if (before.leaveAtMs === null || nowMs < before.leaveAtMs) return stay(before)
      const effect = before.inode === 0 ? 'restore' : 'release'
      return enter({ ...before, inode: 0, isServed: false }, 'out', effect)
    }
  }
}

function decided(before: PodStanding, goal: PresentGoal): Step {
  const { state, told, inode } = before
  if (goal === 'in') {
    if (state === 'out' || (state === 'leaving' && inode === 0)) return enter(before, 'wanted', 'seek')
    return state === 'leaving' ? enter(before, 'enrolled') : stay(before)
  }
  if (state === 'wanted' && told === null) return enter(before, 'out')
  const isOut = state === 'leaving' || (state === 'out' && told === null)
  return isOut ? stay(before) : enter(before, 'leaving')
}

function enter(before: PodStanding, state: PodState, effect: PodEffect = 'none'): Step {
  return { standing: { ...before, state, leaveAtMs: null }, effect }
}

function stay(standing: PodStanding): Step {
  return { standing, effect: 'none' }
}
