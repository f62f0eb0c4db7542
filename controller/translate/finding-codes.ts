// SPDX-License-Identifier: Apache-2.0
// The one table of what translation says about a configuration. Codes are API: never renamed, never reused.
import type { ConfigFinding } from './translation.ts'

interface FindingCodeRow {
  /** `error`: something does not work, or is refused to stay safe. `warning`: probably not what was meant. */
  readonly severity: ConfigFinding['severity']
  readonly meaning: string
}

const row = (severity: ConfigFinding['severity'], meaning: string): FindingCodeRow => ({ severity, meaning })

export const FINDING_CODES = {
  KIND_NOT_SERVED: row('warning', 'the mesh does not act on objects of this kind'),
  WRONG_TYPE: row('error', 'a field holds another type than its kind says'),
  UNKNOWN_FIELD: row(
    'error',
    'a policy has a field that this mesh does not know, so that it cannot be obeyed',
  ),
  INVALID_VALUE: row('error', 'a value is none of those that the field may have'),
  MORE_FINDINGS: row('info', 'the object has more mistakes than are listed'),
  CONTRADICTION: row('warning', 'two settings of one object disagree; one of them was taken'),
  NOT_ENROLLABLE: row('warning', 'a pod asks for the mesh but cannot be enrolled'),
  SERVICE_EXTERNAL_NAME: row(
    'info',
    'a service of type ExternalName is a DNS alias and no service of the mesh',
  ),
  TARGET_PORT_MISSING: row('warning', 'a workload has no port of the name that its service asks for'),
  VISIBILITY_NARROWED: row(
    'warning',
    'exportTo names what cannot be said; the host is visible in its namespace only',
  ),
  HOST_TAKEN: row('error', 'another object of the namespace has this host; the older one counts'),
  ENDPOINT_IGNORED: row('error', 'an endpoint cannot be reached by what is said of it and is left out'),
  NO_AUTO_ADDRESS: row('error', 'no address is left in the range for services without one'),
  FIELD_NOT_SERVED: row('warning', 'the mesh does not act on this field'),
  WAYPOINT_NOT_FOUND: row('error', 'the waypoint that is named does not exist; traffic goes without it'),
  WAYPOINT_NOT_READY: row('warning', 'the waypoint has no address yet; traffic goes without it'),
  WAYPOINT_NOT_ALLOWED: row('error', 'the waypoint does not accept this namespace; traffic goes without it'),
  WAYPOINT_WRONG_TYPE: row(
    'error',
    'the waypoint does not serve this type of traffic; traffic goes without it',
  ),
  PEER_MODE_DISABLE: row(
    'warning',
    'the mesh cannot switch encryption off for a port; DISABLE accepts both, as PERMISSIVE',
  ),
  PEER_NOT_APPLIED: row('warning', 'a PeerAuthentication has no effect'),
  POLICY_NEEDS_L7: row(
    'error',
    'a policy needs layer 7 where no waypoint enforces it; the connections are refused',
  ),
  POLICY_ACTION_NOT_SERVED: row('error', 'the mesh does not act on policies of this action'),
  POLICY_TARGET_NOT_FOUND: row('warning', 'a policy is for an object that does not exist'),
  POLICY_PRINCIPAL_SCHEME: row('warning', 'principals are written without spiffe://; this one never matches'),
} as const satisfies Record<string, FindingCodeRow>

export type FindingCode = keyof typeof FINDING_CODES
