// SPDX-License-Identifier: Apache-2.0
// The one table of what translation says about a configuration; docs/findings.md is made from it. Codes are API: never
// renamed, never reused.
import type { ConfigFinding } from './translation.ts'

interface FindingCodeRow {
  /** `error`: something does not work, or is refused to stay safe. `warning`: probably not what was meant. */
  readonly severity: ConfigFinding['severity']
  readonly meaning: string
  /** What usually helps; a finding says what helps here. */
  readonly fix: string
}

const row = (severity: ConfigFinding['severity'], meaning: string, fix: string): FindingCodeRow => ({
  severity,
  meaning,
  fix,
})

export const FINDING_CODES = {
  KIND_NOT_SERVED: row(
    'warning',
    'the mesh does not act on objects of this kind',
    'use a kind that is served, or remove the object',
  ),
  WRONG_TYPE: row('error', 'a field holds another type than its kind says', 'write what the finding expects'),
  INVALID_VALUE: row('error', 'a value is none of those that the field may have', 'use one of those named'),
  MORE_FINDINGS: row(
    'info',
    'the object, or the whole configuration, has more mistakes than are listed',
    'mend the listed ones first',
  ),
  CONTRADICTION: row(
    'warning',
    'two settings of one object disagree; one of them was taken',
    'remove one of the two',
  ),
  NOT_ENROLLABLE: row(
    'warning',
    'a pod asks for the mesh but cannot be enrolled',
    'take the label away, or what stands against it: host network, a sidecar',
  ),
  SERVICE_EXTERNAL_NAME: row(
    'info',
    'a service of type ExternalName is a DNS alias and no service of the mesh',
    'for a host of the mesh write a ServiceEntry',
  ),
  TARGET_PORT_MISSING: row(
    'warning',
    'a workload has no port of the name that its service asks for',
    'name the port in the pod, or mend targetPort of the service',
  ),
  VISIBILITY_NARROWED: row(
    'warning',
    'exportTo names what cannot be said; the host is visible in its namespace only',
    'use "*" or "."',
  ),
  HOST_TAKEN: row(
    'error',
    'another object of the namespace has this host; the older one counts',
    'merge the objects, or remove the host from one',
  ),
  ENDPOINT_IGNORED: row(
    'error',
    'an endpoint cannot be reached by what is said of it and is left out',
    'write an address or a host name that can be resolved',
  ),
  NO_AUTO_ADDRESS: row(
    'error',
    'no address is left in the range for services without one',
    'write an address in the object, or widen the range',
  ),
  FIELD_NOT_SERVED: row(
    'warning',
    'the mesh does not act on this field',
    'remove it, or expect nothing of it',
  ),
  WAYPOINT_NOT_FOUND: row(
    'error',
    'the waypoint that is named does not exist; traffic goes without it',
    'create the Gateway, or mend the name',
  ),
  WAYPOINT_NOT_READY: row(
    'warning',
    'the waypoint has no address yet; traffic goes without it',
    'wait for it, or read the status of the Gateway',
  ),
  WAYPOINT_NOT_ALLOWED: row(
    'error',
    'the waypoint does not accept this namespace; traffic goes without it',
    'let the namespace in: allowedRoutes.namespaces of the listener',
  ),
  WAYPOINT_WRONG_TYPE: row(
    'error',
    'the waypoint does not serve this type of traffic; traffic goes without it',
    'label the Gateway istio.io/waypoint-for: all, or name another waypoint',
  ),
  WAYPOINT_NOT_OF_SERVICE: row(
    'warning',
    'a workload is behind a waypoint that one of its services does not have; where a node does not divert to the waypoint, connections to that service are refused',
    'give the service the waypoint too, or select other workloads',
  ),
  WAYPOINT_NAME_TAKEN: row(
    'error',
    'an object of somebody else has the name that a waypoint needs; it is left alone, and the waypoint is not made',
    'rename the Gateway, or remove the object',
  ),
  PEER_MODE_DISABLE: row(
    'warning',
    'the mesh cannot switch encryption off for a port; DISABLE accepts both, as PERMISSIVE',
    'use PERMISSIVE, or take the pod out of the mesh',
  ),
  PEER_NOT_APPLIED: row(
    'warning',
    'a PeerAuthentication has no effect',
    'remove it, or mend its selector: in a namespace the oldest counts, in the root namespace only one without selector',
  ),
  POLICY_NEEDS_L7: row(
    'error',
    'a policy needs layer 7 where no waypoint enforces it; the connections are refused',
    'give the service a waypoint and the policy a targetRef to it, or write the policy without layer 7',
  ),
  POLICY_ACTION_NOT_SERVED: row(
    'error',
    'the mesh does not act on policies of this action',
    'use ALLOW or DENY; to try a policy, the annotation istio.io/dry-run: "true"',
  ),
  POLICY_TARGET_NOT_FOUND: row(
    'warning',
    'a policy is for an object that does not exist',
    'create the object, or mend its name',
  ),
  POLICY_PRINCIPAL_SCHEME: row(
    'warning',
    'principals are written without spiffe://; this one never matches',
    'take spiffe:// away',
  ),
  SAME_NODE_IGNORED: row(
    'warning',
    'a pod asks to skip the tunnel inside its node (sidestep.dev/same-node: direct) and does not get it; it is tunnelled',
    'remove the annotation, or what stands against it: no enrolment, strict, a NetworkPolicy that selects the pod',
  ),
  TELEMETRY_NOT_APPLIED: row(
    'warning',
    'a Telemetry has no effect: waypoints log and trace requests, for what is behind them',
    'name a Service or Gateway in targetRefs, and give the service a waypoint',
  ),
  ROUTE_NOT_ATTACHED: row(
    'warning',
    'a route names what it cannot be for: a service or port that is not there, a port of another protocol, a waypoint',
    'name a Service, and a port that it has',
  ),
  ROUTE_NEEDS_WAYPOINT: row(
    'warning',
    'a route is for a service without waypoint; its traffic goes to it as it is',
    'annotate the service with sidestep.dev/waypoint: auto',
  ),
  ROUTE_CONFLICT: row(
    'warning',
    'another route has the traffic that this one is for',
    'merge them, or remove one',
  ),
  ROUTE_BACKEND_NOT_FOUND: row(
    'error',
    'a route sends to what is not there; its share of the requests is answered 500',
    'create the service, or mend name and port',
  ),
  ROUTE_REF_NOT_PERMITTED: row(
    'error',
    'a route sends to another namespace without leave; its share of the requests is answered 500',
    'write a ReferenceGrant in that namespace',
  ),
  ROUTE_TOO_MANY: row(
    'error',
    'a service has more matches than a waypoint is given; the ports beyond are closed',
    'write fewer routes, or for fewer ports',
  ),
  LABEL_NOT_TOLD: row(
    'error',
    'routes and subsets of the mesh name more labels than waypoints are told of workloads; this one matches nobody',
    'name fewer labels in all sourceLabels and subsets together',
  ),
} as const satisfies Record<string, FindingCodeRow>

export type FindingCode = keyof typeof FINDING_CODES

/** Every code, in the order of the table. */
export const ALL_FINDING_CODES = Object.keys(FINDING_CODES) as FindingCode[] // as: keys of a constant table
