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

/** Codes of a refusal by a DENY policy. */
export type DenialCode = Extract<ReasonCode, 'POLICY_DENY' | 'POLICY_NEEDS_L7' | 'WAYPOINT_BYPASS'>

/** What a DENY policy of this name means when it refuses. */
export function denialCode(name: string): DenialCode {
  if (name.startsWith(NEEDS_L7_PREFIX)) return 'POLICY_NEEDS_L7'
  return name.startsWith(WAYPOINT_ONLY_PREFIX) ? 'WAYPOINT_BYPASS' : 'POLICY_DENY'
}

/**
 * What the user wrote that made this policy, `namespace/name`: a policy, or the waypoint that is gone round. The policy's
 * own key where nobody can tell: it is the user's own, or its name had to be replaced on its way here.
 */
export function writtenKey(policy: Pick<Policy, 'namespace' | 'name'>): string {
  const { namespace, name } = policy
  const code = denialCode(name)
  const [first = '', second = ''] = name
    .slice(code === 'POLICY_NEEDS_L7' ? NEEDS_L7_PREFIX.length : WAYPOINT_ONLY_PREFIX.length)
    .split('_')
  const parts = code === 'POLICY_NEEDS_L7' ? [namespace, first] : [first, second]
  const isTold = code !== 'POLICY_DENY' && !parts.some((part) => part === '' || part === 'sidestep')
  return isTold ? parts.join('/') : policyKey(policy)
}
