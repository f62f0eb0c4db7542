// SPDX-License-Identifier: Apache-2.0
// Is what is stored also what is presented? Compares what the workers read from their native certificates with what the
// store has. Pure; a message under way makes a difference for a moment, so only what stays is told.

/** A difference that stays for so long is an alarm: a hundred times what a message takes. */
export const LIVE_GRACE_MS = 10_000

/** What one worker presents: identity → serial number. */
export interface LiveCertificates {
  readonly worker: number
  readonly serialNumbers: ReadonlyMap<string, string>
}

/** One worker that presents something else than what is stored. */
export interface Mismatch {
  readonly worker: number
  readonly identity: string
  readonly stored: string
  /** '' : the worker has no certificate of this identity. */
  readonly live: string
  /** When it was first seen, on the clock of `nowMs`. */
  readonly sinceMs: number
  /** It has stayed for longer than LIVE_GRACE_MS. */
  readonly isAlarm: boolean
}

/**
 * What differs now. `previous` is the last result: a difference goes on as long as the two are never the same, however
 * often the certificate is renewed meanwhile. A worker that did not answer keeps what was known of it.
 */
export function compareCertificates(
  previous: readonly Mismatch[],
  stored: ReadonlyMap<string, string>,
  workers: readonly LiveCertificates[],
  nowMs: number,
): readonly Mismatch[] {
  const answered = new Set(workers.map(({ worker }) => worker))
  const kept = previous.filter(({ worker, identity }) => !answered.has(worker) && stored.has(identity))
  const since = new Map(previous.map(({ worker, identity, sinceMs }) => [`${worker} ${identity}`, sinceMs]))
  const found = workers.flatMap(({ worker, serialNumbers }) =>
    [...stored].flatMap(([identity, serialNumber]) => {
      const live = serialNumbers.get(identity) ?? ''
      if (live === serialNumber) return []
      const sinceMs = since.get(`${worker} ${identity}`) ?? nowMs
      return [{ worker, identity, stored: serialNumber, live, sinceMs }]
    }),
  )
  return [...kept, ...found].map((each) => ({ ...each, isAlarm: nowMs - each.sinceMs >= LIVE_GRACE_MS }))
}
