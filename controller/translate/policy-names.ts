// SPDX-License-Identifier: Apache-2.0
// Names of policies on the wire. Kubernetes' names have no underscore: what has one is made by the mesh.
import { stableHash } from './stable-hash.ts'

/**
 * Reserved: a DENY whose name begins so stands for what a policy needs of layer 7 where no waypoint enforces it. A ztunnel
 * of ours answers such a denial with POLICY_NEEDS_L7; Istio's denies too (design.md, "Rules of behaviour" 2).
 */
export const NEEDS_L7_PREFIX = 'sidestep_needs_l7_'

/** SPEC HBONE §9.5. In the root namespace. */
export const STATIC_STRICT_NAME = 'istio_converted_static_strict'
/** SPEC HBONE §9.5. In the namespace of the PeerAuthentication. */
export const CONVERTED_PEER_PREFIX = 'converted_peer_authentication_'

const KUBERNETES_NAME = /^[a-z0-9][a-z0-9.-]{0,252}$/

/**
 * The name of an object as part of a policy's name. One that Kubernetes would not have accepted could be that of another
 * policy, so it is replaced by a name that follows from it.
 */
export function wireName(name: string): string {
  return KUBERNETES_NAME.test(name)
    ? name
    : `sidestep_renamed_${stableHash(name).toString(16)}_${name.length}`
}
