// SPDX-License-Identifier: Apache-2.0
// Takes back everything that we have said in statuses, when nobody is left to keep it true: what others said stays as it
// stands.
import { isMap, own, type RawMap } from '../watch/value-mistakes.ts'
import type { MergedStatus } from './merge-status.ts'
import { isOurParent } from './route-status.ts'
import type { StatusPatch } from './status-patch.ts'
import { type StatusWriteOptions, writeStatus } from './status-writer.ts'

/** All of it; a controller has so long, and a little more, until it is killed. */
const WITHDRAW_TIMEOUT_MS = 20_000
/** Written at once: two requests each. */
const CONCURRENT_WITHDRAWALS = 16

/** How many statuses were changed, and how many could not be. */
export interface Withdrawal {
  readonly written: number
  readonly failed: number
}

/** Goes through all of `patches`, whatever becomes of one. Never throws. */
export async function withdrawStatuses(
  patches: readonly StatusPatch[],
  options: Omit<StatusWriteOptions, 'signal'>,
): Promise<Withdrawal> {
  const signal = AbortSignal.timeout(WITHDRAW_TIMEOUT_MS)
  let [written, failed] = [0, 0]
  const queue = patches.values()
  const work = async (): Promise<void> => {
    for (const patch of queue)
      await writeStatus(patch, { ...options, signal }, withoutOurs).then(
        (outcome) => {
          if (outcome === 'written') written++
          if (outcome === 'fenced') failed++
        },
        () => {
          failed++
        },
      )
  }
  await Promise.all(Array.from({ length: CONCURRENT_WITHDRAWALS }, work))
  return { written, failed }
}

/** The status without what is ours in it. Pure. */
export function withoutOurs(current: RawMap, { conditions, gateway, parents }: StatusPatch): MergedStatus {
  const status: Record<string, unknown> = { ...current }
  let isChanged = false
  const keep = (key: string, isKept: (each: unknown) => boolean): void => {
    const before = own(current, key)
    if (!Array.isArray(before)) return
    const kept = before.filter(isKept)
    if (kept.length === before.length) return
    isChanged = true
    // An empty list is something said; a field that is not there is what it was before us.
    if (kept.length > 0 || key === 'parents') status[key] = kept
    else delete status[key]
  }
  if (parents !== null) keep('parents', (each) => !isOurParent(each))
  else {
    const types = new Set(conditions.map(({ type }) => type))
    keep('conditions', (each) => !isMap(each) || !types.has(String(own(each, 'type'))))
  }
  if (gateway !== null) for (const key of ['addresses', 'listeners']) keep(key, () => false)
  return { status, change: isChanged ? 'facts' : 'none' }
}
