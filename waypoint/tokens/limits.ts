// SPDX-License-Identifier: Apache-2.0
// Limits of verifying tokens.

/** Characters of a token: longer ones are refused unread. */
export const MAX_TOKEN_CHARS = 16_384
/** Addresses of keys whose sets are held. */
export const MAX_KEY_SETS = 256
/** Of a key set as it is fetched. */
export const MAX_KEY_SET_BYTES = 262_144
/** Keys of one set; a token without a key id is tried with each. */
export const MAX_KEYS = 100
/** A key set is fetched within this, where its rule says nothing else. */
export const KEY_FETCH_TIMEOUT_MS = 5_000
/** A key set is asked for again after this, while it goes on being used. */
export const KEY_REFRESH_MS = 300_000
/** A key set is used no longer than this after it was last fetched, although its server does not answer. */
export const KEY_STALE_MS = 3_600_000
/** After a fetch that failed, the next is not tried sooner. */
export const KEY_RETRY_MS = 2_000
/** For a key that the set does not have it is fetched anew at most so often. */
export const KEY_UNKNOWN_MS = 10_000
/** Clocks of issuers may differ by this. SPEC ENVOY jwt_authn clock_skew_seconds. */
export const TOKEN_SKEW_SECONDS = 60
/** A worker asks again about a token after this, whatever its end: its key may have been withdrawn. */
export const TOKEN_KEPT_MS = 300_000
/** A worker does not ask again about a refused token before this. */
export const REFUSED_TOKEN_KEPT_MS = 2_000
/** Of verdicts that a worker remembers: their tokens' lengths, together. */
export const MAX_TOKEN_MEMORY_BYTES = 4_194_304
/** Tokens that a worker asks about at once; of more it says that they cannot be verified. */
export const MAX_TOKEN_QUESTIONS = 1_024
/** Fetching keys included. */
export const TOKEN_DEADLINE_MS = 10_000
