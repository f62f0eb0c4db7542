// SPDX-License-Identifier: Apache-2.0
// Times this room allows itself and its peers.

/** SPEC wire-protocols §5.3: until a TCP connection stands. */
export const CONNECT_TIMEOUT_MS = 10_000
/** Until a peer has finished its TLS handshake. */
export const HANDSHAKE_TIMEOUT_MS = 10_000
