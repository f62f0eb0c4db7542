// SPDX-License-Identifier: Apache-2.0
// What trying again may cost.

/** Attempts of one connection: the first and two more. */
export const MAX_ATTEMPTS = 3
/** An attempt is given up after this while another endpoint is left; the last one has the whole time of a connect. */
export const ATTEMPT_TIMEOUT_MS = 1_000
/** An endpoint that took a connection and breaks it off within this, before a byte went either way, never served it. */
export const UNSERVED_MS = 1_000
/** Attempts beyond the first, of a hundred first ones. */
export const RETRY_PERCENT = 20
/** … and so many each second whatever the share says. */
export const RETRIES_PER_SECOND = 10
/** Attempts that may be saved up. */
export const MAX_SAVED_RETRIES = 100
/** An endpoint that failed once is passed over for this long. */
export const MIN_DEMOTION_MS = 1_000
/** … and at most for this long, however often it failed. */
export const MAX_DEMOTION_MS = 30_000
/** After that one connection of a worker tries it, for so long at most; the others go elsewhere until it is known how that went. */
export const TRIAL_MS = 2_000
/** Endpoints that a worker remembers to have failed; the one that failed first goes first. */
export const MAX_DEMOTED = 4_096
/** Demotions and their ends that a worker tells the others each second; what is beyond they find out for themselves. */
export const DEMOTIONS_TOLD_PER_SECOND = 100
/** Demoted endpoints that are looked at for one connection, before one of them is tried all the same. */
export const MAX_PASSED_OVER = 16
/** Instances of a waypoint that are all looked at for a connection; of more, two: what they have is read of every worker. */
export const MAX_COMPARED = 8
/** Points of a hash ring: it is made in 2 ms, and the shares of its endpoints differ by a few percent. */
export const MAX_RING_POINTS = 16_384
/** Places of a Maglev table (the next prime is taken): half a megabyte and 20 ms for each service that uses one. */
export const MAX_MAGLEV_SIZE = 131_072
