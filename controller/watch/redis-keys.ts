// SPDX-License-Identifier: Apache-2.0
// What Sidestep keeps in Redis, all of it under one prefix, so that an ACL can be given for it:
//   PREFIX:objects:KIND  hash: `namespace/name` → JSON of the object
//   PREFIX:version       counts changes
//   PREFIX:epoch         another one after everything was imported anew
//   PREFIX:changes       channel: `VERSION KIND NAMESPACE/NAME` for every change
//   PREFIX:leader, PREFIX:fence   see leader-lock.ts
//   PREFIX:join-token:ID   hash: the record of a join token, and its fate (ca/join-token-redis.ts)
//   PREFIX:join-tokens:ids, :ends, :nodes   set of all; unused ones by their end; node → the token it joined with

export const DEFAULT_PREFIX = 'sidestep'

export const objectsKey = (prefix: string, kind: string): string => `${prefix}:objects:${kind}`
export const versionKey = (prefix: string): string => `${prefix}:version`
export const epochKey = (prefix: string): string => `${prefix}:epoch`
export const changesChannel = (prefix: string): string => `${prefix}:changes`
export const leaderKey = (prefix: string): string => `${prefix}:leader`
export const fenceKey = (prefix: string): string => `${prefix}:fence`
export const joinTokenKey = (prefix: string, id: string): string => `${prefix}:join-token:${id}`
export const joinTokensKey = (prefix: string, part: string): string => `${prefix}:join-tokens:${part}`

/** One change as it is published. */
export interface Change {
  readonly version: number
  readonly kind: string
  /** `namespace/name`. */
  readonly key: string
}

/** A published text; undefined when it is none of ours. */
export function parseChange(message: string): Change | undefined {
  const match = /^(\d{1,15}) ([\w.]{1,200}) ([a-z0-9.-]{0,63}\/[a-z0-9.-]{1,253})$/.exec(message)
  return match === null ? undefined : { version: Number(match[1]), kind: match[2] ?? '', key: match[3] ?? '' }
}
