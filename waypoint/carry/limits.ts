// SPDX-License-Identifier: Apache-2.0
// Limits of what one worker of a waypoint carries.

/** Of a request's body, kept so that it can be sent once more; longer ones are not tried again. */
export const MAX_REPLAY_BYTES = 65_536
/** Written and not yet sent by a mirror; more than that and the copy is given up. */
export const MAX_MIRROR_BYTES = 262_144
/** Copies of one worker under way. */
export const MAX_MIRRORS = 1_024
/** Requests that wait on purpose (fault delay), of one worker. */
export const MAX_DELAYED = 4_096
/** Handshake of a tunnel, in and out. */
export const HANDSHAKE_TIMEOUT_MS = 5_000
/** TCP to an endpoint or its node. */
export const CONNECT_TIMEOUT_MS = 5_000
/** Main answers within a millisecond; what it does not know yet may come within this. */
export const RESOLVE_DEADLINE_MS = 5_000
/** Requests and connections that wait for one answer of main. */
export const MAX_WAITING = 10_000
/** What nobody declared is looked at for so long; whoever waits for the server's first word gets it then. */
export const PEEK_TIMEOUT_MS = 50
