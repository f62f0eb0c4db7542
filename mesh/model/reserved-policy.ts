// SPDX-License-Identifier: Apache-2.0
// Policies that a controller of ours makes and no user wrote: their names say what their refusal means. Istio's ztunnel
// knows only that they deny. Objects of Kubernetes have no underscore in their names, so nobody's own is taken for one.
import type { ReasonCode } from '../errors/reasons.ts'
import { type Policy, policyKey } from './policy.ts'

/**
 * Reserved: a DENY whose name begins so stands for what a policy needs of layer 7 where no waypoint enforces it. Then come
 * the policy's own name and, for a part of it, an ending that begins with an underscore.
 */
export const NEEDS_L7_PREFIX = 'sidestep_needs_l7_'

/**
 * Reserved: a DENY whose name begins so refuses whoever is not a waypoint of the workload. Then come namespace and name of
 * the (first) waypoint and an ending for further ones. A ztunnel that diverts to the waypoint instead is not sent it.
 */
export const WAYPOINT_ONLY_PREFIX = 'sidestep_waypoint_only_'

/**
 * Reserved: ending of such a name when one of its waypoints does not know diverted connections. Then nobody diverts, and
 * every ztunnel is sent the policy.
 */
export const UNDIVERTED_SUFFIX = '_undiverted'

/** True for the key, `namespace/name`, of a DENY that a ztunnel does without, because it diverts what that would refuse. */
export function isDiverting(key: string): boolean {
  return key.startsWith(WAYPOINT_ONLY_PREFIX, key.indexOf('/') + 1) && !key.endsWith(UNDIVERTED_SUFFIX)
}

/** Reserved: the DENY of whoever has no identity, which all that is strict names. SPEC HBONE §9.5. In the root namespace. */
export const STATIC_STRICT_NAME = 'istio_converted_static_strict'

/**
 * Reserved: a DENY whose name begins so refuses whoever has no identity, on some ports or on all but some. Then comes the name
 * of the PeerAuthentication. SPEC HBONE §9.5. In its namespace.
 */
export const CONVERTED_PEER_PREFIX = 'converted_peer_authentication_'

/** Codes of a refusal by a DENY policy. */
export type DenialCode = Extract<
  ReasonCode,
  'POLICY_DENY' | 'POLICY_NEEDS_L7' | 'WAYPOINT_BYPASS' | 'PLAINTEXT_REFUSED'
>

const PREFIXES: Readonly<Record<DenialCode, string | null>> = {
  POLICY_DENY: null,
  POLICY_NEEDS_L7: NEEDS_L7_PREFIX,
  WAYPOINT_BYPASS: WAYPOINT_ONLY_PREFIX,
  PLAINTEXT_REFUSED: CONVERTED_PEER_PREFIX,
}

/** What a DENY policy of this name means when it refuses. */
export function denialCode(name: string): DenialCode {
  if (name.startsWith(NEEDS_L7_PREFIX)) return 'POLICY_NEEDS_L7'
  if (name === STATIC_STRICT_NAME || name.startsWith(CONVERTED_PEER_PREFIX)) return 'PLAINTEXT_REFUSED'
  return name.startsWith(WAYPOINT_ONLY_PREFIX) ? 'WAYPOINT_BYPASS' : 'POLICY_DENY'
}

/**
 * What the user wrote that made this policy, `namespace/name`: a policy, or the waypoint that is gone round. The policy's
 * own key where nobody can tell: it is the user's own, or its name had to be replaced on its way here.
 */
export function writtenKey(policy: Pick<Policy, 'namespace' | 'name'>): string {
  const { namespace, name } = policy
  const code = denialCode(name)
  const prefix = PREFIXES[code]
  if (prefix === null || !name.startsWith(prefix)) return policyKey(policy)
  const [first = '', second = ''] = name.slice(prefix.length).split('_')
  const parts = code === 'WAYPOINT_BYPASS' ? [first, second] : [namespace, first]
  const isTold = !parts.some((part) => part === '' || part === 'sidestep')
  return isTold ? parts.join('/') : policyKey(policy)
}
