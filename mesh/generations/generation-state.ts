// SPDX-License-Identifier: Apache-2.0
// What a supervisor makes of its generations of the data process, and of another supervisor on its node: states, what happens,
// what is to be done then. Pure; generations.ts does it.

/** Generations that let their connections end at the same time; of more the oldest is cut. Each takes some 80 MB. */
export const MAX_DRAINING_GENERATIONS = 4

/**
 *   leading ─► handing over ─► stood down ─► leading, when nobody is
 *      ▲             │
 *      └─────────────┘  the next supervisor did not come to serve
 *
 * Each may go over to stopping, which is the end.
 */
export type Role = 'leading' | 'handing-over' | 'stood-down' | 'stopping'

/**
 *   starting ─► ready ─► serving ─► retiring ─► draining ─► gone
 *                           ▲           │   └─► retired ─► draining
 *                           └───────────┴──────────┘  its successor has failed
 *
 * The first one, and one that follows a dead one, is serving from its start on: nobody else could.
 */
export type GenerationState =
  /** Is given the pods, beside one that serves them. */
  | 'starting'
  /** Serves all pods, and waits for what there can be only one of on a node. */
  | 'ready'
  /** Has that: the admin socket, the status port, the pods' news. At most one is serving, retiring or retired. */
  | 'serving'
  /** Is to leave that; it still accepts. */
  | 'retiring'
  /** Has left it to another supervisor's, which does not serve yet. */
  | 'retired'
  /** Accepts no more and ends with its last connection. */
  | 'draining'

/** All that is remembered. Generations are numbered from 1, oldest first; who is gone is not in it. */
export interface Standing {
  readonly role: Role
  readonly lastNumber: number
  readonly generations: ReadonlyMap<number, GenerationState>
}

export const FIRST_STANDING: Standing = { role: 'leading', lastNumber: 0, generations: new Map() }

/** What happens. */
export type GenerationEvent =
  /** Somebody has to serve. */
  | { readonly type: 'needed' }
  /** A process that another supervisor has left behind is this one's now. */
  | { readonly type: 'adopted' }
  /** An operator wants the next generation. */
  | { readonly type: 'upgrade' }
  /** A process serves all pods. */
  | { readonly type: 'ready'; readonly generation: number }
  /** It has left what there can be only one of, or its time to do so is over. */
  | { readonly type: 'retired'; readonly generation: number }
  /** It should have been ready by now. */
  | { readonly type: 'late'; readonly generation: number }
  | { readonly type: 'exited'; readonly generation: number; readonly isClean: boolean }
  /** Another supervisor asks for the pods. */
  | { readonly type: 'asked' }
  /** It serves them; it does not. */
  | { readonly type: 'next-serves' }
  | { readonly type: 'next-failed' }
  /** Nobody leads the node any more. */
  | { readonly type: 'leader-lost' }
  /** Somebody else was faster to lead. */
  | { readonly type: 'outrun' }
  /** The supervisor is about to end: whoever dies is not replaced. */
  | { readonly type: 'stop' }

/** What is to be done, in this order. */
export type GenerationEffect =
  /** `isBeside`: one that serves is there; it may take its time, but not too much. */
  | { readonly do: 'start'; readonly generation: number; readonly isBeside: boolean }
  /** After a while somebody is needed. */
  | { readonly do: 'restart' }
  /** What was asked for is not done. */
  | { readonly do: 'refuse'; readonly why: string }
  /** It is the one that serves: pods' news are for it, and what there can be only one of is its. */
  | { readonly do: 'lead'; readonly generation: number }
  | { readonly do: 'retire'; readonly generation: number }
  | { readonly do: 'drain'; readonly generation: number }
  /** There are too many: its connections end now. */
  | { readonly do: 'cut'; readonly generation: number }
  | { readonly do: 'kill'; readonly generation: number }
  /** It never came to serve: nothing is lost. */
  | { readonly do: 'report-failed'; readonly generation: number }
  /** It broke while its connections ended. */
  | { readonly do: 'report-lost'; readonly generation: number }
  /** The one that serves is ready. */
  | { readonly do: 'report-serving' }
  /** The pods are served by nobody. */
  | { readonly do: 'report-unserved' }
  /** The other supervisor gets the pods. */
  | { readonly do: 'give' }

/** The next standing, and what is to be done. */
export interface Step {
  readonly standing: Standing
  readonly effects: readonly GenerationEffect[]
}

/** The generation in one of these states; there is at most one. */
export function generationIn(standing: Standing, ...states: readonly GenerationState[]): number | null {
  for (const [generation, state] of standing.generations) if (states.includes(state)) return generation
  return null
}

/** Generations whose connections end, oldest first. */
export function drainingGenerations({ generations }: Standing): readonly number[] {
  return [...generations].flatMap(([generation, state]) => (state === 'draining' ? [generation] : []))
}

/** Decides. What comes too late, or is of nobody, changes nothing. */
export function decideGenerations(standing: Standing, event: GenerationEvent): Step {
  switch (event.type) {
    case 'needed':
      return onNeeded(standing)
    case 'adopted': {
      const number = standing.lastNumber + 1
      return step({ ...set(standing, number, 'serving'), lastNumber: number })
    }
    case 'upgrade':
      return onUpgrade(standing)
    case 'ready':
      return onReady(standing, event.generation)
    case 'retired':
      return onRetired(standing, event.generation)
    case 'late':
      return standing.generations.get(event.generation) === 'starting'
        ? step(drop(standing, event.generation), kill(event.generation), failed(event.generation))
        : step(standing)
    case 'exited':
      return onExited(standing, event.generation, event.isClean)
    case 'asked':
      return onAsked(standing)
    case 'next-serves':
      return standing.role === 'handing-over' ? standDown(standing) : step(standing)
    case 'next-failed':
      return standing.role === 'handing-over' ? resume(standing) : step(standing)
    case 'leader-lost':
      return step(standing.role === 'stood-down' ? { ...standing, role: 'leading' } : standing)
    case 'outrun':
      return step(standing.role === 'leading' ? { ...standing, role: 'stood-down' } : standing)
    case 'stop':
      return step({ ...standing, role: 'stopping' })
  }
}

function onNeeded(standing: Standing): Step {
  const isServed = generationIn(standing, 'serving', 'retiring', 'retired') !== null
  if (standing.role !== 'leading' || isServed) return step(standing)
  const generation = standing.lastNumber + 1
  const started = { ...set(standing, generation, 'serving'), lastNumber: generation }
  return step(started, { do: 'start', generation, isBeside: false }, { do: 'lead', generation })
}

function onUpgrade(standing: Standing): Step {
  const refuse = (why: string): Step => step(standing, { do: 'refuse', why })
  if (standing.role !== 'leading') return refuse(`this supervisor is ${standing.role}`)
  if (generationIn(standing, 'starting', 'ready') !== null) return refuse('an upgrade is under way')
  if (generationIn(standing, 'serving') === null) return refuse('no data process runs; the next one is new')
  const generation = standing.lastNumber + 1
  const started = { ...set(standing, generation, 'starting'), lastNumber: generation }
  return step(started, { do: 'start', generation, isBeside: true })
}

function onReady(standing: Standing, generation: number): Step {
  const state = standing.generations.get(generation)
  if (state === 'serving') return step(standing, { do: 'report-serving' })
  const serving = generationIn(standing, 'serving')
  if (state !== 'starting' || serving === null) return step(standing)
  const next = set(set(standing, generation, 'ready'), serving, 'retiring')
  return step(next, { do: 'retire', generation: serving })
}

function onRetired(standing: Standing, generation: number): Step {
  const state = standing.generations.get(generation)
  const serving = generationIn(standing, 'serving')
  // Its time was over before it said so: what it left meanwhile may have been its successor's already.
  if (state === 'draining' && serving !== null) return step(standing, { do: 'lead', generation: serving })
  if (state !== 'retiring') return step(standing)
  if (standing.role === 'handing-over') return step(set(standing, generation, 'retired'), { do: 'give' })
  const next = generationIn(standing, 'ready')
  if (standing.role !== 'leading' || next === null) return step(standing)
  const changed = set(set(standing, generation, 'draining'), next, 'serving')
  return step(
    ...cutOldest(changed, [
      { do: 'lead', generation: next },
      { do: 'report-serving' },
      { do: 'drain', generation },
    ]),
  )
}

function cutOldest(
  standing: Standing,
  effects: readonly GenerationEffect[],
): [Standing, ...GenerationEffect[]] {
  const [oldest = -1, ...others] = drainingGenerations(standing)
  if (others.length < MAX_DRAINING_GENERATIONS) return [standing, ...effects]
  return [drop(standing, oldest), ...effects, { do: 'cut', generation: oldest }]
}

function onExited(standing: Standing, generation: number, isClean: boolean): Step {
  const state = standing.generations.get(generation)
  const rest = drop(standing, generation)
  switch (state) {
    case 'starting':
      return step(rest, failed(generation))
    case 'ready': {
      const before = generationIn(rest, 'retiring')
      if (before === null) return step(rest, failed(generation))
      const resumed = set(rest, before, 'serving')
      return step(resumed, failed(generation), { do: 'lead', generation: before })
    }
    case 'serving': {
      if (standing.role !== 'leading') return step(rest)
      const next = generationIn(rest, 'starting')
      const unserved = { do: 'report-unserved' } as const
      if (next === null) return step(rest, unserved, { do: 'restart' })
      return step(set(rest, next, 'serving'), unserved, { do: 'lead', generation: next })
    }
    case 'retiring': {
      if (standing.role === 'handing-over') return step(rest, { do: 'give' })
      const next = generationIn(rest, 'ready')
      if (standing.role !== 'leading' || next === null) return step(rest)
      return step(set(rest, next, 'serving'), { do: 'lead', generation: next }, { do: 'report-serving' })
    }
    case 'draining':
      return isClean ? step(rest) : step(rest, { do: 'report-lost', generation })
    default:
      return step(rest)
  }
}

/** The other supervisor's data process replaces an upgrade that has begun. */
function onAsked(standing: Standing): Step {
  if (standing.role !== 'leading')
    return step(standing, { do: 'refuse', why: `this supervisor is ${standing.role}` })
  const begun = generationIn(standing, 'starting', 'ready')
  const effects: GenerationEffect[] = []
  let next: Standing = { ...standing, role: 'handing-over' }
  if (begun !== null) {
    next = drop(next, begun)
    effects.push(kill(begun))
  }
  const serving = generationIn(next, 'serving')
  if (serving !== null) return step(set(next, serving, 'retiring'), ...effects, retire(serving))
  // It is retiring already, or there is none.
  return generationIn(next, 'retiring') === null
    ? step(next, ...effects, { do: 'give' })
    : step(next, ...effects)
}

function standDown(standing: Standing): Step {
  const left = generationIn(standing, 'retiring', 'retired')
  const next: Standing = { ...standing, role: 'stood-down' }
  if (left === null) return step(next)
  return step(...cutOldest(set(next, left, 'draining'), [{ do: 'drain', generation: left }]))
}

function resume(standing: Standing): Step {
  const left = generationIn(standing, 'retiring', 'retired')
  const next: Standing = { ...standing, role: 'leading' }
  if (left === null) return onNeeded(next)
  return step(set(next, left, 'serving'), { do: 'lead', generation: left })
}

const step = (standing: Standing, ...effects: readonly GenerationEffect[]): Step => ({ standing, effects })
const kill = (generation: number): GenerationEffect => ({ do: 'kill', generation })
const retire = (generation: number): GenerationEffect => ({ do: 'retire', generation })
const failed = (generation: number): GenerationEffect => ({ do: 'report-failed', generation })

function set(standing: Standing, generation: number, state: GenerationState): Standing {
  return { ...standing, generations: new Map([...standing.generations, [generation, state]]) }
}

function drop(standing: Standing, generation: number): Standing {
  const others = [...standing.generations].filter(([number]) => number !== generation)
  return { ...standing, generations: new Map(others) }
}
