// SPDX-License-Identifier: Apache-2.0
// The ports of the mesh itself. They are fixed by the ecosystem (SPEC HBONE §6.1) and never a tunnel's target.

/** Redirected outbound traffic of a pod. */
export const OUTBOUND_PORT = 15_001
/** Redirected inbound plaintext of a pod. */
export const INBOUND_PLAINTEXT_PORT = 15_006
/** HBONE: mTLS with HTTP/2 CONNECT. */
export const HBONE_PORT = 15_008
/** DNS questions of a pod, on its loopback addresses. */
export const DNS_PORT = 15_053
/** Outbound traffic by SOCKS5, when enabled. */
export const SOCKS5_PORT = 15_080

/** True for ports that only the mesh answers. A connection carried to one would come back to the mesh. */
export function isMeshPort(port: number): boolean {
  return (
    port === OUTBOUND_PORT || port === INBOUND_PLAINTEXT_PORT || port === HBONE_PORT || port === SOCKS5_PORT
  )
}
