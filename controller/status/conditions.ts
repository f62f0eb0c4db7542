// SPDX-License-Identifier: Apache-2.0
// The one table of conditions that we write; docs/status.md is made from it. A reason has one status, so that what is
// written cannot say another than what is documented. SPEC GATEWAY-API: types and reasons of its kinds are its own.
import { messageOf, type WantedCondition } from './status-patch.ts'

interface ReasonRow {
  readonly status: WantedCondition['status']
  readonly meaning: string
}

/** One type of condition on some kinds. */
export interface ConditionTable {
  readonly type: string
  readonly on: string
  readonly reasons: Readonly<Record<string, ReasonRow>>
}

const yes = (meaning: string): ReasonRow => ({ status: 'True', meaning })
const no = (meaning: string): ReasonRow => ({ status: 'False', meaning })

export const ENFORCED = {
  type: 'sidestep.dev/Enforced',
  on: 'AuthorizationPolicy, PeerAuthentication, RequestAuthentication',
  reasons: {
    Exact: yes('enforced as written; the message says by whom and for how many workloads'),
    DryRun: no('only recorded: `istio.io/dry-run: "true"`'),
    RefusedNeedsL7: no('what only layer 7 could decide is refused, the rest is enforced as written'),
    RefusedInvalid: no('it was not understood; what it might be about is refused'),
    Nowhere: no('it has no effect; the message says why'),
  },
} as const satisfies ConditionTable

export const CLASS_ACCEPTED = {
  type: 'Accepted',
  on: 'GatewayClass',
  reasons: {
    Accepted: yes('Gateways of this class are waypoints that we run'),
    InvalidParameters: no('`parametersRef` is not read'),
    Unsupported: no('it names us as its controller, but it is not the class of our waypoints'),
  },
} as const satisfies ConditionTable

export const CLASS_VERSION = {
  type: 'SupportedVersion',
  on: 'GatewayClass',
  reasons: {
    SupportedVersion: yes('the apiserver serves version v1 of the Gateway API'),
    UnsupportedVersion: no('the apiserver serves an older version; it is read as well as it can be'),
  },
} as const satisfies ConditionTable

export const GATEWAY_ACCEPTED = {
  type: 'Accepted',
  on: 'Gateway',
  reasons: {
    Accepted: yes('it has a listener that a waypoint can serve'),
    ListenersNotValid: no('none of its listeners is one of a waypoint: port 15008, protocol HBONE'),
  },
} as const satisfies ConditionTable

export const GATEWAY_PROGRAMMED = {
  type: 'Programmed',
  on: 'Gateway',
  reasons: {
    Programmed: yes('ztunnels are given the waypoint, and pods of it are ready'),
    Invalid: no('it is not accepted'),
    NoResources: no('its Service is not there yet'),
    AddressNotAssigned: no('its Service has no address, or not one that the Gateway asks for'),
    Pending: no('no pod of it is ready'),
  },
} as const satisfies ConditionTable

export const LISTENER_ACCEPTED = {
  type: 'Accepted',
  on: 'listener of a Gateway',
  reasons: {
    Accepted: yes('port 15008, protocol HBONE'),
    UnsupportedProtocol: no('a waypoint serves HBONE only'),
    PortUnavailable: no('a waypoint listens on port 15008 only'),
  },
} as const satisfies ConditionTable

export const LISTENER_PROGRAMMED = {
  type: 'Programmed',
  on: 'listener of a Gateway',
  reasons: {
    Programmed: yes('as the Gateway'),
    Invalid: no('it is not accepted'),
    Pending: no('the Gateway is not programmed'),
  },
} as const satisfies ConditionTable

export const LISTENER_REFS = {
  type: 'ResolvedRefs',
  on: 'listener of a Gateway',
  reasons: {
    ResolvedRefs: yes('it refers to nothing that is missing'),
    InvalidRouteKinds: no('`allowedRoutes.kinds` names routes; none are served'),
  },
} as const satisfies ConditionTable

export const ROUTE_ACCEPTED = {
  type: 'Accepted',
  on: 'parent of a route',
  reasons: {
    Accepted: yes('a waypoint of ours acts on it'),
    NoMatchingParent: no('the Service has no such port'),
    NotAllowedByListeners: no('it names a waypoint; routes name the Services that are behind it'),
    UnsupportedValue: no('none of its rules can be acted on as it is written; they answer 500'),
    UnsupportedProtocol: no('no port of the Service speaks what the route is about'),
    Conflicted: no('a route of a more specific kind has the port'),
  },
} as const satisfies ConditionTable

export const ROUTE_REFS = {
  type: 'ResolvedRefs',
  on: 'parent of a route',
  reasons: {
    ResolvedRefs: yes('everything that it sends to is there'),
    RefNotPermitted: no('it sends to another namespace without a ReferenceGrant; that share is answered 500'),
    InvalidKind: no('it sends to something that is no Service; that share is answered 500'),
    BackendNotFound: no('it sends to a Service or port that is not there; that share is answered 500'),
  },
} as const satisfies ConditionTable

export const ROUTE_PARTIAL = {
  type: 'PartiallyInvalid',
  on: 'parent of a route',
  reasons: {
    UnsupportedValue: yes('some of its rules cannot be acted on as they are written; they answer 500'),
  },
} as const satisfies ConditionTable

/** Every table, in the order of the documentation. */
export const CONDITION_TABLES: readonly ConditionTable[] = [
  ...[ENFORCED, CLASS_ACCEPTED, CLASS_VERSION, GATEWAY_ACCEPTED, GATEWAY_PROGRAMMED],
  ...[LISTENER_ACCEPTED, LISTENER_PROGRAMMED, LISTENER_REFS],
  ...[ROUTE_ACCEPTED, ROUTE_REFS, ROUTE_PARTIAL],
]

/** A condition of a table; its status follows from the reason. */
export function conditionOf<T extends ConditionTable>(
  table: T,
  reason: Extract<keyof T['reasons'], string>,
  ...message: readonly string[]
): WantedCondition {
  const status = table.reasons[reason]?.status ?? 'False'
  return { type: table.type, status, reason, message: messageOf(...message) }
}
