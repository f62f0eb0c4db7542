// SPDX-License-Identifier: Apache-2.0
// Times this room allows itself and its peers.

/** SPEC wire-protocols §5.3: until a TCP connection stands. */
export const CONNECT_TIMEOUT_MS = 10_000
/** Until a peer has finished its TLS handshake. */
export const HANDSHAKE_TIMEOUT_MS = 10_000
/** Until a pod that has just started has its certificate: tunnels to and from it wait so long. */
export const CERTIFICATE_DEADLINE_MS = 5_000
/** Between two looks for it. */
export const CERTIFICATE_CHECK_MS = 20
/** How long goes on what came before a waypoint did, or by another one: a request that is under way gets its answer. */
export const WAYPOINT_GRACE_MS = 5_000
