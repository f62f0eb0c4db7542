// SPDX-License-Identifier: Apache-2.0
// Reads limits out of the sources that they bound, so that the documentation cannot say another number than the program obeys. Pure
// but for the source it is given. Which ones: source-limits.ts.
import type { SourceLimit } from './source-limits.ts'

/** A limit as documented. */
export interface ReadLimit extends SourceLimit {
  readonly value: number
  readonly meaning: string
}

/** What looks like a limit by its name and is none that a user may meet, and why. */
export const NO_LIMITS: Readonly<Record<string, string>> = {
  MAX_PORT: 'of the protocol',
  MAX_WEIGHT: 'of the protocol',
  MAX_DELAY_MS: 'coalesces changes, refuses none',
  FINGERPRINT_BYTES: 'a size in memory',
  ENTRY_BYTES: 'a size in memory',
  MAX_QUOTED: 'shortens a message',
  MAX_NAMED_PLACES: 'shortens a message',
  MAX_NAMED_PORTS: 'shortens a name',
  MAX_PATH_PARTS: 'shortens a message',
  MAX_DETAIL: 'shortens a message',
  MAX_STATUS_LENGTH: 'shortens a message',
  MAX_ERROR_LENGTH: 'shortens a message',
  MAX_LOGGED_MISTAKES: 'shortens a message',
  MAX_TOLD: 'shortens a message',
  MAX_MESSAGE_LENGTH: 'shortens a message',
  MAX_BODY_BYTES: 'of the admin socket: who may ask there may do anything',
  MAX_IDENTITIES: 'repeats MAX_ALLOWED_IDENTITIES',
  MAX_TOKEN_SECONDS: 'repeats MAX_JOIN_TOKEN_MS',
  ID_BYTES: 'size of a random value',
  SECRET_BYTES: 'size of a random value',
  SERIAL_BYTES: 'size of a random value',
}

const LIMIT_LINE =
  /^(?:export )?const ((?:MAX_\w+|(?:\w+_)?(?:TIMEOUT_MS|DEADLINE_MS|MAX_MS|BYTES|BURST|PER_SECOND))) = \d/gm

/** Names of the constants in a source that are limits by their names, in the order in which they stand. */
export function limitNames(source: string): string[] {
  return [...source.matchAll(LIMIT_LINE)].flatMap(([, name = '']) =>
    Object.hasOwn(NO_LIMITS, name) ? [] : [name],
  )
}

/** Finds a limit in the text of its file. @throws Error when it is not there, not a number, or has no reason */
export function readSourceLimit(limit: SourceLimit, source: string): ReadLimit {
  const { file, constant } = limit
  const line = new RegExp(`^(?:export )?const ${constant} = ([\\d_ *+]+?)(?: // (.+))?$`, 'm').exec(source)
  if (line?.[1] === undefined) throw new Error(`${file}: there is no ${constant} that is a number`)
  const before = source.slice(0, line.index).trimEnd().split('\n').at(-1) ?? ''
  const meaning = line[2] ?? /^\/\*\* (.+) \*\/$/.exec(before)?.[1] ?? /^\/\/ (.+)$/.exec(before)?.[1]
  if (meaning === undefined) throw new Error(`${file}: ${constant} has no comment that gives its reason`)
  const value = line[1]
    .replaceAll('_', '')
    .split('+')
    .reduce((sum, term) => sum + term.split('*').reduce((product, factor) => product * Number(factor), 1), 0)
  return { ...limit, value, meaning }
}
